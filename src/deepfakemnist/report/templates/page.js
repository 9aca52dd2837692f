"use strict";

document.documentElement.classList.toggle("framed", window.parent !== window);

// Large texts are gzip streams in base64: a report of 15 MB would be 40 MB otherwise.
async function unpack(element) {
  const bytes = Uint8Array.from(atob(element.textContent), character => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

const libraries = {};

function loadTables() {
  libraries.tables ??= (async () => {
    const style = document.createElement("style");
    style.textContent = await unpack(document.getElementById("data-tables-style"));
    document.head.prepend(style); // rules of the page win
    const code = await unpack(document.getElementById("data-tables-script"));
    const address = URL.createObjectURL(new Blob([code], {type: "text/javascript"}));
    return (await import(address)).default;
  })();
  return libraries.tables;
}

function loadVega() {
  libraries.vega ??= (async () => {
    const script = document.createElement("script");
    script.textContent = await unpack(document.getElementById("vega"));
    document.head.append(script);
    return window.vegaEmbed;
  })();
  return libraries.vega;
}

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const csvCell = value => {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

// Buttons that save columns and rows as CSV and as JSON.
function downloads(file, columns, rows) {
  const box = document.createElement("div");
  box.className = "downloads";
  const formats = {
    CSV: () => save(`${file}.csv`, "text/csv", [columns, ...rows].map(row => row.map(csvCell).join(",")).join("\n") + "\n"),
    JSON: () => save(`${file}.json`, "application/json",
      JSON.stringify(rows.map(row => Object.fromEntries(columns.map((name, place) => [name, row[place]]))), null, 1)),
  };
  for (const [name, action] of Object.entries(formats)) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `Save ${name}`;
    button.setAttribute("aria-label", `Save ${file} as ${name}`);
    button.addEventListener("click", action);
    box.append(button);
  }
  return box;
}

const leadingNumber = text => {
  const found = /^[≈<>≤≥~\s]*([+−-]?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w:/])/.exec(text);
  return found ? Number(found[1].replaceAll(",", "").replace("−", "-")) : -Infinity;
};
const escapeHtml = text => String(text).replace(/[&<>"']/g, sign => `&#${sign.charCodeAt(0)};`);

// Turns a table into a sortable one; rows that are not in the document come from `rows`.
async function grid(table, rows) {
  const heads = [...table.tHead.rows[0].cells];
  const count = rows ? rows.length : table.tBodies[0].rows.length;
  const settings = {
    order: [], autoWidth: false, paging: count > 25, pageLength: 25, lengthMenu: [25, 100, 500],
    searching: count > 10, info: count > 25,
    columnDefs: heads.map((head, place) => ({targets: place, type: head.classList.contains("number") ? "num" : "string"})),
    layout: {topStart: count > 10 ? "search" : null, topEnd: count > 25 ? "pageLength" : null,
             bottomStart: count > 25 ? "info" : null, bottomEnd: count > 25 ? "paging" : null},
    language: {search: "Search", lengthMenu: "_MENU_ rows", info: "_START_ to _END_ of _TOTAL_ rows"},
  };
  if (rows) {
    settings.data = rows;
    settings.deferRender = true;
    settings.columns = heads.map(head => {
      const isNumber = head.classList.contains("number");
      return {
        className: isNumber ? "number" : "",
        render: (value, type) => type === "display" ? escapeHtml(value) : isNumber && type !== "filter" ? leadingNumber(value) : value,
      };
    });
  }
  const DataTable = await loadTables();
  new DataTable(table, settings);
}

async function showTable(table) {
  const island = table.closest("section").querySelector(".island");
  const columns = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
  const rows = island ? JSON.parse(await unpack(island)) : null;
  const all = rows ?? [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent.trim()));
  table.closest(".scroll").after(downloads(table.dataset.file, columns, all));
  if (all.length > 1) await grid(table, rows);
}

async function showChart(figure) {
  const {spec, rows} = JSON.parse(await unpack(figure.querySelector(".island")));
  spec.datasets = {...spec.datasets, rows};
  // Small drawings side by side: as many as fit, with room for their axes.
  if (spec.columns) {
    const width = figure.querySelector(".drawing").clientWidth - 40;
    spec.columns = Math.max(1, Math.min(spec.columns, Math.floor(width / (spec.spec.width + 48))));
  }
  const embed = await loadVega();
  const actions = {export: true, source: false, compiled: false, editor: false};
  const settings = {renderer: "svg", actions, downloadFileName: figure.dataset.file, logLevel: 1};
  await embed(figure.querySelector(".drawing"), spec, settings);
  // The drawing is one picture to those who listen; its parts would be a hundred. Beside it is a menu, which is none.
  const drawing = figure.querySelector(".drawing"), picture = drawing.querySelector(".chart-wrapper");
  for (const name of ["role", "aria-label"]) {
    picture.setAttribute(name, drawing.getAttribute(name));
    drawing.removeAttribute(name);
  }
  picture.querySelector("svg").setAttribute("aria-hidden", "true");
  // Menus of the drawing come before it, and are no part of the picture.
  const menus = picture.querySelector(".vega-bindings");
  if (menus) drawing.before(menus);
  drawing.querySelector("summary").setAttribute("aria-label", "Save the drawing");
  const details = figure.querySelector("details.data");
  const columns = rows.length ? Object.keys(rows[0]) : [];
  details.addEventListener("toggle", async () => {
    if (!details.open || details.querySelector("table") || !rows.length) return;
    const table = document.createElement("table");
    table.className = "grid";
    const head = table.createTHead().insertRow();
    for (const name of columns) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = name;
      if (rows.every(row => row[name] === null || typeof row[name] === "number")) cell.className = "number";
      head.append(cell);
    }
    table.createTBody();
    const box = details.querySelector(".scroll");
    box.append(table);
    const cells = rows.map(row => columns.map(name => row[name] === null ? "" : String(row[name])));
    box.after(downloads(figure.dataset.file, columns, rows.map(row => columns.map(name => row[name]))));
    await grid(table, cells);
  });
}

// Inside Snakemake's report, pages are opened by it; alone, they lie beside each other.
document.addEventListener("click", event => {
  const link = event.target.closest("a[data-page]");
  if (!link || window.parent === window) return;
  event.preventDefault();
  window.parent.postMessage({openReportPage: link.dataset.page, fragment: link.hash}, "*");
});
// A page that the report holds as data has no address to which a fragment could be added.
document.addEventListener("click", event => {
  const link = event.target.closest("a[href^='#']");
  const target = link && document.getElementById(link.getAttribute("href").slice(1));
  if (!target) return;
  event.preventDefault();
  target.scrollIntoView();
  target.querySelector("h2")?.setAttribute("tabindex", "-1");
  target.querySelector("h2")?.focus({preventScroll: true});
});

async function show() {
  for (const table of document.querySelectorAll("table.grid")) await showTable(table);
  for (const figure of document.querySelectorAll(".chart figure")) await showChart(figure);
  document.documentElement.dataset.ready = "yes";
}
show();
