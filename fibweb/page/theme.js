/* The colours that were chosen, applied before anything is painted. */
{
  const KEY = "theme";

  const remembered = () => {
    try {
      return localStorage.getItem(KEY) ?? "auto";
    } catch {
      return "auto"; // a browser that stores nothing
    }
  };

  const remember = (theme) => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // it holds for this visit only
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
