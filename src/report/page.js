"use strict";

/* The page is complete without this: it only adds a nicer text under the pointer, also for fingers, and sorting. */

(function tips() {
    const tip = document.createElement("div");
    tip.id = "tip";
    tip.hidden = true;
    document.body.append(tip);

    const texts = new Map();
    for (const mark of document.querySelectorAll(".spot, .mark")) {
        const title = mark.querySelector("title");
        texts.set(mark, title.textContent);
        title.remove(); /* or the browser would show it as well */
    }

    function show(event) {
        const mark = event.target.closest ? event.target.closest(".spot, .mark") : null;
        tip.hidden = !texts.has(mark);
        if (tip.hidden)
            return;
        tip.textContent = texts.get(mark);
        const right = event.clientX + 16 + tip.offsetWidth > document.documentElement.clientWidth;
        const left = right ? event.clientX - 16 - tip.offsetWidth : event.clientX + 16;
        const below = event.clientY + 16 + tip.offsetHeight > document.documentElement.clientHeight;
        tip.style.left = Math.max(4, left) + "px";
        tip.style.top = (below ? event.clientY - 12 - tip.offsetHeight : event.clientY + 16) + "px";
    }

    document.addEventListener("pointermove", show);
    document.addEventListener("pointerdown", show);
    document.addEventListener("scroll", () => { tip.hidden = true; }, true);
})();

(function sorting() {
    function value(row, column) {
        const cell = row.cells[column];
        return cell.dataset.v !== undefined ? Number(cell.dataset.v) : cell.textContent;
    }

    function compare(a, b) {
        if (typeof a === "string")
            return a.localeCompare(b, undefined, { numeric: true });
        return (isNaN(a) - isNaN(b)) || a - b;
    }

    function sort(table, head) {
        const down = head.getAttribute("aria-sort") ? head.getAttribute("aria-sort") === "ascending" :
                                                      head.hasAttribute("data-n") && head.textContent !== "#";
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => (down ? -1 : 1) * compare(value(a, head.cellIndex), value(b, head.cellIndex)));
        for (const other of head.parentNode.cells)
            other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        table.tBodies[0].append(...rows);
    }

    for (const table of document.querySelectorAll("table.sortable"))
        for (const head of table.tHead.rows[0].cells) {
            const button = document.createElement("button");
            button.type = "button";
            button.append(...head.childNodes);
            button.addEventListener("click", () => sort(table, head));
            head.append(button);
        }
})();
