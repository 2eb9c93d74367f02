// node ipfs_daemon.mjs REPO PORT: a js-ipfs daemon whose RPC is on loopback, and no swarm.
// It is the npm package `ipfs` 0.66, which Node 20 runs once it has Promise.withResolvers.
Promise.withResolvers ??= () => {
  const found = {};
  found.promise = new Promise((resolve, reject) => Object.assign(found, { resolve, reject }));
  return found;
};
const { create } = await import("ipfs-core");
const { HttpApi } = await import("ipfs-http-server");
const [repo, port] = process.argv.slice(2);
const node = await create({
  repo,
  offline: true,
  silent: true,
  config: {
    Addresses: { Swarm: [], API: `/ip4/127.0.0.1/tcp/${port}`, Gateway: "" },
    Bootstrap: [],
    Discovery: { MDNS: { Enabled: false }, webRTCStar: { Enabled: false } },
  },
});
const api = new HttpApi(node);
await api.start();
console.log(api._apiServers[0].info.uri);
