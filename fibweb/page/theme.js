/* The chosen colour theme, applied before the first paint. */
{
  const KEY = "theme";

  const remembered = () => {
    try {
      return localStorage.getItem(KEY) ?? "auto";
    } catch {
      return "auto"; // the browser stores nothing
    }
  };

  const remember = (theme) => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // the choice lasts for this visit only
    }
  };

  document.documentElement.dataset.theme = remembered();

  document.addEventListener("DOMContentLoaded", () => {
    for (const choice of document.querySelectorAll("input[name=theme]")) {
      choice.checked = choice.value === document.documentElement.dataset.theme;
      choice.addEventListener("change", () => {
        document.documentElement.dataset.theme = choice.value;
        remember(choice.value);
      });
    }
  });
}
