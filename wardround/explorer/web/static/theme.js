// Runs before the page is drawn, so that a chosen theme does not flash. Without a choice the
// browser's own preference holds (style.css).
"use strict";
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden: the preference of the browser is good enough.
}
