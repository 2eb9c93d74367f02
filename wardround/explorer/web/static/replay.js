// "Replay the round": the server recomputes, and its words arrive one by one.
"use strict";
const button = document.querySelector("#replay");
button?.addEventListener("click", () => {
  const box = document.querySelector("#replay-result");
  const list = box.querySelector("ul");
  const verdict = box.querySelector(".verdict");
  const set = (kind, words) => {
    verdict.className = `verdict ${kind}`;
    verdict.textContent = words;
  };
  const line = ({ kind, title, detail }) => {
    const item = document.createElement("li");
    item.className = kind;
    const mark = document.createElement("span");
    mark.className = "sign";
    mark.setAttribute("aria-hidden", "true");
    mark.textContent = { holds: "✓", fails: "✗" }[kind] ?? "–";
    const body = document.createElement("div");
    body.append({ fails: "Does not hold: ", skipped: "Not checked: " }[kind] ?? "", title);
    if (detail) {
      const small = document.createElement("small");
      small.textContent = detail;
      body.append(small);
    }
    item.append(mark, body);
    list.append(item);
  };
  list.replaceChildren();
  box.hidden = false;
  button.disabled = true;
  set("busy", "The server is recomputing …");
  const source = new EventSource(button.dataset.stream);
  const end = () => {
    source.close();
    button.disabled = false;
  };
  source.addEventListener("step", (message) => line(JSON.parse(message.data)));
  source.addEventListener("progress", (message) => set("busy", JSON.parse(message.data).words));
  source.addEventListener("done", (message) => {
    const { holds, words } = JSON.parse(message.data);
    if (holds === null) set("busy", "– " + words); // neither: something is encrypted
    else set(holds ? "holds" : "fails", (holds ? "✓ " : "✗ ") + words);
    end();
  });
  source.addEventListener("error", () => {
    set("fails", "✗ The connection to the server broke before the replay ended; try again.");
    end();
  });
});
