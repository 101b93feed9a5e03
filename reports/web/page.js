"use strict";
(() => {
  const tip = document.getElementById("tip");
  const said = (element) => {
    if (element.hash) return document.querySelector(element.hash).textContent;
    const map = element.closest(".map");
    if (!map) return element.dataset.more;
    const place = [...map.children].indexOf(element);
    const [across, up] = [place % 8, 7 - Math.floor(place / 8)];
    return `λ = ${across / 10}, η = ${up / 10}: ${map.dataset.unit} ${element.dataset.more}`;
  };
  const show = (element) => {
    tip.textContent = said(element);
    tip.hidden = false;
    const box = element.getBoundingClientRect();
    const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2),
      document.documentElement.clientWidth - tip.offsetWidth - 8);
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${left}px`;
    tip.style.top = `${above > 4 ? above : box.bottom + 8}px`;
  };
  const told = (event) => {
    const element = event.target.closest && event.target.closest("[data-more], a[href^='#note-']");
    if (element) show(element); else tip.hidden = true;
  };
  for (const kind of ["pointerover", "click", "focusin"]) document.addEventListener(kind, told);
  document.addEventListener("scroll", () => { tip.hidden = true; }, true);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  // One number of each table is reached by Tab, the others from there by the arrows.
  for (const table of document.querySelectorAll("table")) {
    const first = table.querySelector("td[data-more]");
    if (!first) continue;
    first.tabIndex = 0;
    table.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      const from = event.target.closest("td[data-more]");
      if (!step || !from) return;
      event.preventDefault();
      let row = from.parentElement;
      let place = from.cellIndex;
      for (;;) {
        place += step[0];
        if (step[1]) row = step[1] > 0 ? row.nextElementSibling : row.previousElementSibling;
        const cell = row && row.cells[place];
        if (!cell) return;
        if (cell.dataset.more && !row.hidden) {
          from.removeAttribute("tabindex");
          cell.tabIndex = 0;
          cell.focus();
          show(cell);
          return;
        }
      }
    });
  }

  for (const map of document.querySelectorAll(".map")) {
    const squares = [...map.children];
    const start = Math.max(0, squares.findIndex((square) => square.classList.contains("star")));
    let place = start;
    const move = (to) => {
      squares[place].classList.remove("at");
      place = to;
      squares[place].classList.add("at");
      show(squares[place]);
    };
    map.addEventListener("focus", () => { if (map.matches(":focus-visible")) move(start); });
    map.addEventListener("blur", () => { squares[place].classList.remove("at"); });
    map.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      const [x, y] = [place % 8 + step[0], Math.floor(place / 8) + step[1]];
      if (x >= 0 && x < 8 && y >= 0 && y < 8) move(8 * y + x);
    });
  }

  for (const button of document.querySelectorAll("[data-board]")) {
    button.addEventListener("click", () => {
      for (const other of document.querySelectorAll("[data-board]")) {
        const chosen = other === button;
        other.setAttribute("aria-pressed", String(chosen));
        document.getElementById(other.dataset.board).hidden = !chosen;
      }
    });
  }

  // Best first, then worst first; what is missing stays below, the floors below that.
  const number = (cell) => Number.parseFloat(cell.textContent.replace("−", "-"));
  const pinned = (row) => 2 * row.classList.contains("published") + row.classList.contains("floor");
  const compare = (place, sign) => (a, b) => {
    if (pinned(a) !== pinned(b)) return pinned(a) - pinned(b);
    const [x, y] = [a.cells[place], b.cells[place]];
    const [p, q] = [number(x), number(y)];
    if (place === 0 || (Number.isNaN(p) && Number.isNaN(q))) {
      return sign * x.textContent.localeCompare(y.textContent);
    }
    if (Number.isNaN(p) || Number.isNaN(q)) return Number.isNaN(p) - Number.isNaN(q);
    return sign * (p - q);
  };
  const opposite = { ascending: "descending", descending: "ascending" };
  for (const table of document.querySelectorAll(".sortable table")) {
    const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    heads.forEach((head, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const next = before ? opposite[before] : head.dataset.best || "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", next);
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort(compare(place, next === "ascending" ? 1 : -1)));
        const first = body.querySelector("td[data-more]");
        for (const cell of body.querySelectorAll("td[tabindex]")) cell.removeAttribute("tabindex");
        if (first) first.tabIndex = 0;
      });
    });
  }

  const filter = document.querySelector("#leaderboard #filter");
  if (filter) {
    const rows = [...document.querySelectorAll("#leaderboard tbody tr.measured")];
    const maps = [...document.querySelectorAll("#landscapes .maps figure")];
    const keep = (words, element, text) => {
      element.hidden = !words.every((word) => text.toLowerCase().includes(word));
    };
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/);
      for (const row of rows) {
        keep(words, row, [...row.cells].slice(0, 3).map((cell) => cell.textContent).join(" "));
      }
      for (const map of maps) keep(words, map, map.dataset.name);
      const tables = document.querySelectorAll("#leaderboard table").length;
      const left = rows.filter((row) => !row.hidden).length / tables;
      document.getElementById("kept").textContent = `${left} of ${rows.length / tables} systems`;
    });
  }

  // Files are made of what the page has, so that they are there wherever the page is.
  const save = (name, address) => {
    const link = document.createElement("a");
    link.href = address;
    link.download = name;
    link.click();
  };
  const quoted = (text) => {
    const plain = text.replace(/−(?=[\d.])/g, "-");
    const safe = /^[=+@\t\r]|^-(?![\d.])/.test(plain) ? `'${plain}` : plain;  // never a formula
    return `"${safe.replaceAll('"', '""')}"`;
  };
  const csv = (table) => {
    const lines = [...table.querySelectorAll("tr")].map((row) => [...row.cells].flatMap((cell) => {
      const text = cell.dataset.more ? cell.dataset.more : cell.textContent.trim();
      return [quoted(text), ...Array(cell.colSpan - 1).fill("")];
    }).join(","));
    return `\ufeff${lines.join("\n")}\n`;
  };
  const offer = (section, what, get) => {
    const heading = section.querySelector("h3");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "get";
    button.textContent = what;
    button.setAttribute("aria-label", `Download ${heading.textContent} as ${what}`);
    button.addEventListener("click", get);
    heading.after(button);
  };
  for (const section of document.querySelectorAll("main section[id]:has(> .scroll > table)")) {
    offer(section, "CSV", () => {
      const made = new Blob([csv(section.querySelector("table"))], { type: "text/csv" });
      save(`${section.id}.csv`, URL.createObjectURL(made));
    });
  }
  for (const figure of document.querySelectorAll("figure.picture")) {
    offer(figure, "PNG", () => save(`${figure.id}.png`, figure.querySelector("img").src));
  }

  // What is cut off says so.
  const cut = (box) => {
    const wide = box.scrollWidth - box.clientWidth;
    const more = wide > 2 && box.scrollLeft < wide - 2;
    box.classList.toggle("more", more);
    if (wide > 2) box.tabIndex = 0; else if (box.clientWidth) box.removeAttribute("tabindex");
    const next = box.nextElementSibling;
    const hint = next && next.className === "more-hint" ? next : document.createElement("p");
    hint.className = "more-hint";
    hint.textContent = "more to the right →";
    if (wide > 2) box.after(hint); else hint.remove();
    hint.style.visibility = more ? "visible" : "hidden";
  };
  const watch = new ResizeObserver((seen) => seen.forEach((one) => cut(one.target)));
  for (const box of document.querySelectorAll(".scroll")) {
    watch.observe(box);
    box.addEventListener("scroll", () => cut(box));
  }

  const contents = document.getElementById("contents");
  if (contents && window.innerWidth < 1120) contents.open = false;
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const fold = target && target.closest("details");
    if (fold) { fold.open = true; target.scrollIntoView(); }
  };
  window.addEventListener("hashchange", reveal);
  reveal();
})();
