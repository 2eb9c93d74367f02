// What every page does: theme, copying, times in the reader's zone, countdowns, live rows.
"use strict";

// -- theme ----------------------------------------------------------------------------------
const theme = document.querySelector(".theme");
const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
const tellTheme = () => theme.setAttribute("aria-pressed", String(isDark()));
theme.hidden = false;
tellTheme();
dark.addEventListener("change", tellTheme);
theme.addEventListener("click", () => {
  const chosen = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = chosen;
  try {
    localStorage.setItem("theme", chosen);
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
  tellTheme();
});

// -- the keyboard: "/" goes to the search ---------------------------------------------------
addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    document.querySelector("#q").focus();
  }
});

// -- copying --------------------------------------------------------------------------------
const status = document.querySelector("#status");
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
    status.textContent = "Copied.";
  } catch {
    status.textContent = "The browser did not allow copying.";
  }
});

// -- times ----------------------------------------------------------------------------------
const span = (seconds) => {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const words = [];
  let rest = Math.max(0, Math.round(seconds));
  for (const [size, name] of parts) {
    if (rest >= size || (size === 1 && !words.length)) words.push(`${Math.floor(rest / size)} ${name}`);
    rest %= size;
  }
  return words.slice(0, 2).join(" ");
};
function tick() {
  for (const place of document.querySelectorAll("[data-until]")) {
    const left = Number(place.dataset.until) - Date.now() / 1000;
    place.textContent = left > 0 ? `${span(left)} left` : "over by this computer's clock";
  }
}
function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    time.title = new Date(time.dateTime).toLocaleString() + " in your time zone";
  }
}
tick();
localTimes(document);
setInterval(tick, 1000);

// -- live: the server says what is new; rows come rendered, other regions are read again ------
const live = document.querySelector("[data-live]");
if (live) {
  const lamp = document.querySelector(".live");
  const feed = document.querySelector("[data-feed]");
  const say = (state, words) => {
    if (!lamp) return;
    lamp.dataset.state = state;
    lamp.textContent = words;
  };
  const source = new EventSource(live.dataset.live);
  let reading = false;
  let again = false;

  async function refresh() {
    if (reading) {
      again = true;
      return;
    }
    reading = true;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (!answer.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      // An open round that is closed now has parts that this page never had.
      const missing = [...fresh.querySelectorAll("[data-region]")].some(
        (region) => !document.querySelector(`[data-region="${region.dataset.region}"]`),
      );
      if (missing) return location.reload();
      for (const region of document.querySelectorAll("[data-region]")) {
        const with_ = fresh.querySelector(`[data-region="${region.dataset.region}"]`);
        if (with_ && with_.innerHTML !== region.innerHTML) {
          const open = [...region.querySelectorAll("details[open]")].map((one) => one.id);
          region.replaceChildren(...with_.childNodes);
          for (const id of open) if (id) document.getElementById(id)?.setAttribute("open", "");
          localTimes(region);
        }
      }
      tick();
    } finally {
      reading = false;
      if (again) {
        again = false;
        refresh();
      }
    }
  }

  source.addEventListener("open", () => say("on", lamp?.dataset.finished ?? "Live: new events appear by themselves"));
  source.addEventListener("error", () => say("lost", "Connection lost; trying again"));
  source.addEventListener("rows", (message) => {
    const { rows, studies, said } = JSON.parse(message.data);
    if (live.dataset.study && !studies.includes(live.dataset.study)) return;
    if (feed) {
      const wanted = rows.filter((row) => !live.dataset.study || row.study === live.dataset.study);
      const holder = document.createElement("template");
      // Rendered and escaped by the server, with the same template as the page itself.
      holder.innerHTML = wanted.map((row) => row.html).join("");
      for (const row of [...holder.content.children]) {
        if (feed.querySelector(`[data-event="${CSS.escape(row.dataset.event)}"]`)) continue;
        row.classList.add("new");
        feed.prepend(row);
      }
      localTimes(feed);
      while (feed.children.length > Number(feed.dataset.feed)) feed.lastElementChild.remove();
      feed.closest("[data-when-filled]")?.removeAttribute("hidden");
      status.textContent = said;
    }
    refresh();
  });
  // Objects and gas are looked up after the events: no new row, but more to show.
  let later;
  source.addEventListener("changed", () => {
    clearTimeout(later);
    later = setTimeout(refresh, 250);
  });
  source.addEventListener("reload", () => location.reload());
}
