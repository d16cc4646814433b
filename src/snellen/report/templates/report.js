// Filter, order and enlarge. The page reads without it: what it adds is hidden until it runs.
(() => {
  "use strict";
  const bar = document.querySelector(".filter");
  const list = document.getElementById("cards");

  if (bar && list) {
    const cards = [...list.querySelectorAll(".card")];
    const boxes = [...bar.querySelectorAll("input[name=severity]")];
    const wing = bar.querySelector("select[name=wing]");
    const order = bar.querySelector("select[name=order]");
    const text = bar.querySelector("input[name=text]");
    const told = bar.querySelector("output");

    const keys = {
      rank: (a, b) => a.dataset.rank - b.dataset.rank,
      count: (a, b) => b.dataset.count - a.dataset.count || a.dataset.rank - b.dataset.rank,
      name: (a, b) => a.dataset.name.localeCompare(b.dataset.name),
    };

    const filter = () => {
      const severities = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
      const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const card of cards) {
        const fits =
          severities.has(card.dataset.severity) &&
          (!wing.value || card.dataset.wing === wing.value) &&
          words.every((word) => card.dataset.text.includes(word));
        card.hidden = !fits;
        shown += fits;
      }
      told.textContent = shown === cards.length ? "" : `${shown} of ${cards.length}`;
    };

    const sort = () => {
      list.append(...[...cards].sort(keys[order.value]));
    };

    bar.hidden = false;
    bar.addEventListener("input", filter);
    order.addEventListener("change", sort);
    // The browser may restore the fields of an earlier visit.
    sort();
    filter();

    // A link to a card that the filter hides shows it again.
    const reveal = () => {
      const card = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
      if (card && card.classList.contains("card") && card.hidden) {
        boxes.forEach((box) => { box.checked = true; });
        wing.value = "";
        text.value = "";
        filter();
        card.scrollIntoView();
      }
    };
    window.addEventListener("hashchange", reveal);
    reveal();
  }

  const dialog = document.getElementById("lightbox");
  const pictures = [...document.querySelectorAll(".tile > svg")];
  if (dialog && typeof dialog.showModal === "function") {
    const place = dialog.querySelector("div");
    const caption = dialog.querySelector("p");
    let at = 0;

    const show = (index) => {
      // Cards that the filter hides are not part of the row of pictures.
      const visible = pictures.filter((picture) => picture.getClientRects().length);
      at = (index + visible.length) % visible.length;
      const picture = visible[at];
      place.replaceChildren(picture.cloneNode(true));
      caption.textContent = picture.parentElement.querySelector("figcaption").innerText.replace(/\n+/g, " · ");
      return visible;
    };

    for (const picture of pictures) {
      picture.setAttribute("tabindex", "0");
      picture.classList.add("opens");
      const open = () => {
        const visible = pictures.filter((other) => other.getClientRects().length);
        show(visible.indexOf(picture));
        dialog.showModal();
      };
      picture.addEventListener("click", open);
      picture.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          open();
        }
      });
    }
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowRight") show(at + 1);
      if (event.key === "ArrowLeft") show(at - 1);
    });
  }

  // Tables are ordered by a click on a column's head.
  for (const head of document.querySelectorAll(".sorted th")) {
    head.classList.add("sorts");
    head.tabIndex = 0;
    const sort = () => {
      const body = head.closest("table").tBodies[0];
      const column = head.cellIndex;
      const down = head.getAttribute("aria-sort") !== "descending";
      const value = (row) => row.cells[column].textContent;
      const figure = (row) => parseFloat(value(row).replace(/,/g, ""));
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [figure(a), figure(b)];
        if (Number.isNaN(x) || Number.isNaN(y)) {
          return Number.isNaN(x) - Number.isNaN(y) || value(a).localeCompare(value(b));
        }
        return x - y;
      });
      body.append(...(down ? rows.reverse() : rows));
      for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => {
      if (event.key === "Enter") sort();
    });
  }
})();
