"use strict";
(() => {
  const tip = document.getElementById("tip");
  const show = (element) => {
    tip.textContent = element.dataset.more;
    tip.hidden = false;
    const box = element.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2),
      document.documentElement.clientWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 4 ? above : box.bottom + 8}px`;
  };
  const told = (event) => {
    const element = event.target.closest("[data-more]");
    if (element) show(element); else tip.hidden = true;
  };
  document.addEventListener("pointerover", told);
  document.addEventListener("click", told);
  document.addEventListener("scroll", () => { tip.hidden = true; }, true);

  for (const button of document.querySelectorAll("[data-board]")) {
    button.addEventListener("click", () => {
      for (const other of document.querySelectorAll("[data-board]")) {
        const chosen = other === button;
        other.setAttribute("aria-pressed", String(chosen));
        document.getElementById(other.dataset.board).hidden = !chosen;
      }
    });
  }

  const number = (cell) => Number.parseFloat(cell.textContent.replace("−", "-"));
  const compare = (place, sign) => (a, b) => {
    const [x, y] = [a.cells[place], b.cells[place]];
    if (place === 0) return sign * x.textContent.localeCompare(y.textContent);
    const [p, q] = [number(x), number(y)];
    if (Number.isNaN(p) || Number.isNaN(q)) return Number.isNaN(p) - Number.isNaN(q);
    return sign * (p - q);
  };
  for (const table of document.querySelectorAll(".sortable table")) {
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, place) => {
      head.tabIndex = 0;
      const sort = () => {
        const next = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", next);
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort(compare(place, next === "ascending" ? 1 : -1)));
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    });
  }

  const contents = document.getElementById("contents");
  if (window.innerWidth < 1120) contents.open = false;
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const fold = target && target.closest("details");
    if (fold) { fold.open = true; target.scrollIntoView(); }
  };
  window.addEventListener("hashchange", reveal);
  reveal();
})();
