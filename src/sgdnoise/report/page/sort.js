"use strict";
// A click, Enter or Space on a column's button sorts the table by it, and again the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  for (const [column, header] of [...table.tHead.rows[0].cells].entries()) {
    header.querySelector("button").addEventListener("click", () => sortBy(table, column, header));
  }
}

function sortBy(table, column, header) {
  const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const rows = [...table.tBodies[0].rows].map((row) => [row.cells[column].dataset.order, row]);
  rows.sort(([one], [other]) => {
    if (one === undefined || other === undefined) return (one === undefined) - (other === undefined); // always last
    const difference = Number(one) - Number(other);
    return sign * (Number.isNaN(difference) ? one.localeCompare(other) : difference);
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
}
