(() => {
  const text = document.getElementById("filter");
  const level = document.getElementById("level");
  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/);
    for (const row of document.querySelectorAll(".zoo tbody tr")) {
      const fits = words.every((word) => row.dataset.text.includes(word));
      row.hidden = !fits || (level.value !== "" && row.dataset.level !== level.value);
    }
  };
  text.addEventListener("input", filter);
  level.addEventListener("change", filter);
  for (const button of document.querySelectorAll(".copy button")) {
    button.addEventListener("click", async () => {
      const from = button.dataset.copyFrom;
      const what = from ? document.getElementById(from).textContent : button.dataset.copy;
      await navigator.clipboard.writeText(what);
      const name = button.textContent;
      button.textContent = "copied";
      setTimeout(() => { button.textContent = name; }, 1200);
    });
  }
})();
