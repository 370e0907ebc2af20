"use strict";

// Sorting: a click on a heading sorts each group by it, another click turns the order round.
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, index) => {
    head.querySelector("button").addEventListener("click", () => {
      const numeric = head.classList.contains("figure");
      const before = head.getAttribute("aria-sort");
      const descending = before ? before === "ascending" : numeric;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[index];
        if (!numeric) return cell.textContent.toLowerCase();
        return cell.dataset.value === "" ? null : Number(cell.dataset.value);
      };
      for (const group of table.tBodies) {
        const rows = [...group.rows].slice(1).map((row) => [key(row), row]);
        rows.sort(([a], [b]) => {
          // Scores that do not exist stay at the end, whichever way round.
          if (a === null || b === null) return (a === null) - (b === null);
          const order = numeric ? a - b : a.localeCompare(b);
          return descending ? -order : order;
        });
        group.append(...rows.map(([, row]) => row));
      }
    });
  });
}

// Filtering: tasks hide columns; protocol and data status hide rows.
const filters = document.querySelector(".filters");
function filter() {
  const choice = new FormData(filters);
  const tasks = new Set(choice.getAll("task"));
  for (const cell of document.querySelectorAll("[data-task]")) {
    cell.hidden = !tasks.has(cell.dataset.task);
  }
  const rows = [...document.querySelectorAll("tbody tr:not(.group)")];
  for (const row of rows) {
    row.hidden = ["protocol", "data"].some(
      (name) => choice.get(name) && !row.dataset[name].split("\n").includes(choice.get(name)),
    );
  }
  for (const group of document.querySelectorAll("tbody")) {
    group.hidden = !group.querySelector("tr:not(.group):not([hidden])");
  }
  const shown = rows.filter((row) => !row.hidden).length;
  document.getElementById("shown").textContent = `${shown} of ${rows.length} rows`;
}
filters.addEventListener("change", filter);
filters.addEventListener("submit", (event) => event.preventDefault());
filter();
