"use strict";
// Tables sort by a click on a heading, are filtered by a text, and can be downloaded as CSV.
const textOf = cell => cell.dataset.text ?? cell.textContent.trim().replace(/\s+/g, " ");
const numberOf = text => parseFloat(text.replaceAll(",", ""));
const compare = (a, b, sign) => {
  const [x, y] = [numberOf(a), numberOf(b)];
  if (isNaN(x) !== isNaN(y)) return isNaN(x) - isNaN(y); // what is no number comes last
  return sign * (x - y || a.localeCompare(b, "en"));
};

function makeSortable(table, heading) {
  const column = heading.cellIndex, body = table.tBodies[0], button = document.createElement("button");
  button.append(...heading.childNodes);
  button.type = "button";
  heading.append(button);
  button.addEventListener("click", () => {
    const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    body.append(...[...body.rows].sort((a, b) => compare(textOf(a.cells[column]), textOf(b.cells[column]), sign)));
  });
}

function addFilter(table, tools) {
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "Filter rows";
  field.setAttribute("aria-label", "Filter rows");
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    for (const row of table.tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  tools.append(field);
}

function asCsv(table) {
  const plain = text => /^[\d,.]+( %)?$/.test(text) ? text.replace(/[ ,%]/g, "") : text; // 1,440 and 87.5 % as numbers
  const quote = text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const cells = row => [...row.cells].filter(cell => !cell.classList.contains("bar"));
  return [...table.rows].map(row => cells(row).map(cell => quote(plain(textOf(cell)))).join(",") + "\n").join("");
}

document.querySelectorAll("main .scroll table").forEach((table, number) => {
  const tools = document.createElement("p"), link = document.createElement("a");
  tools.className = "tools";
  if (table.tHead && !table.classList.contains("matrix") && table.tBodies[0].rows.length > 3) {
    for (const heading of table.tHead.querySelectorAll("th")) makeSortable(table, heading);
  }
  if (table.tBodies[0].rows.length > 5) addFilter(table, tools);
  link.textContent = "CSV";
  link.download = `${table.closest("section").id}-${number}.csv`;
  link.href = "data:text/csv;charset=utf-8,%EF%BB%BF" + encodeURIComponent(asCsv(table));
  tools.append(link);
  table.parentElement.before(tools);
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(each => { each.open = true; }));
