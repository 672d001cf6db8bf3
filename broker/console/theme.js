// Before anything is drawn: light or dark, where somebody has chosen.
"use strict";
(function () {
  let chosen = null;
  try {
    chosen = localStorage.getItem("tidewheel.theme");
  } catch {
    // Storage is off: the system decides.
  }
  if (chosen === "light" || chosen === "dark") {
    document.documentElement.dataset.theme = chosen;
  }
})();
