// The findings stand in #data as JSON. Their texts are others': they become text nodes, never markup.
const rows = JSON.parse(document.querySelector("#data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", follow);
follow();

function el(tag, name, ...parts) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...parts);
  return made;
}

// Text with its `code` set as code: models write that everywhere.
function prose(text) {
  return text.split(/`([^`\n]+)`/).map((part, at) => (at % 2 ? el("code", "", part) : part));
}

function said(label, text) {
  if (!text) return [];
  return [el("p", "text", ...(label ? [el("i", "", label), " "] : []), ...prose(text))];
}

function code(lines, name, label) {
  if (!lines?.length) return [];
  const block = el("pre", `code ${name}`, ...lines.map(([number, marker, text, found]) =>
    el("span", `line${found ? " found" : ""}${{ "+": " added", "-": " removed" }[marker] ?? ""}`,
      el("i", "", String(number || "")), el("b", "", marker || " "), `${text}\n`)));
  block.tabIndex = 0;
  block.setAttribute("aria-label", label);
  return [block];
}

function copy(text, label) {
  const button = el("button", "copy", label);
  button.type = "button";
  button.addEventListener("click", async () => {
    button.textContent = (await copied(text, button)) ? "copied" : "select it and copy";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}

async function copied(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Over plain http there is no clipboard; the older way needs something that is selected.
    const area = el("textarea", "", text);
    button.after(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

function details(row) {
  const suppression = JSON.stringify({ fingerprint: row.fingerprint, reason: `not a defect: ${row.title}` });
  const place = `#${encodeURIComponent(row.fingerprint)}`;
  const links = el("p", "links", Object.assign(el("a", "permalink", "link to this finding"), { href: place }));
  if (row.link) {
    links.append(Object.assign(el("a", "host", "open at the code host"), { href: row.link, target: "_blank", rel: "noopener noreferrer" }));
  }
  const suggestion = (row.suggestion ?? []).map((line) => [0, "+", line, 0]);
  return [
    ...said("", row.message),
    ...said("When it fails", row.rationale),
    ...code(row.code, "", "Code around the finding"),
    ...code(row.quote, "quote", "Code that the finding quotes"),
    ...code(suggestion, "new", "Suggested change"),
    ...said("Review", row.reason),
    ...(row.short ? [el("p", "quiet", "Its text and code are in comments.parquet: this report is full.")] : []),
    links,
    el("p", "copying", el("i", "", "fingerprint"), el("code", "", row.fingerprint), copy(row.fingerprint, "copy")),
    el("p", "copying", el("i", "", "to suppress it, in suppressions.jsonl"), el("code", "", suppression), copy(suppression, "copy line")),
    el("p", "quiet", `input ${row.input}`),
  ];
}

function finding(row) {
  const button = el("button", "title", ...prose(row.title));
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => open(button, row, button.getAttribute("aria-expanded") === "false"));
  return button;
}

// What a finding says is made when it is opened, in a row of its own as wide as the table.
function open(button, row, wanted) {
  const child = table.row(button.closest("tr")).child;
  button.setAttribute("aria-expanded", String(wanted));
  if (!wanted) child.hide();
  else child(el("div", "", ...details(row)), "opened").show();
}

// What the table library takes as markup, for its cells and its lists.
const escaped = (text) => el("p", "", String(text)).innerHTML.replaceAll('"', "&quot;");
const searched = ["title", "message", "rationale", "reason", "path", "input", "fingerprint"];
const plain = (text, order) => (row, kind) => (kind === "sort" || kind === "type" ? order(row) : escaped(text(row)));
const node = (make, text) => (row, kind) => (kind === "display" ? make(row) : escaped(text(row)));
const ages = { new: "new", recurring: "recurring" };
const age = (row) => el("span", "", ages[row.age] ?? "", ...(row.since ? [el("br"), " ", el("span", "quiet since", `since ${row.since}`)] : []));
const severity = (row) => el("span", `severity ${row.severity}`, row.severity);

const columns = [
  { title: "Severity", type: "num", data: (row, kind) => (kind === "display" ? severity(row) : kind === "filter" ? row.severity : row.order) },
  { title: "Category", type: "string", data: plain((row) => row.category, (row) => row.category) },
  { title: "Finding", type: "string", data: node(finding, (row) => searched.map((name) => row[name] ?? "").join(" ")) },
  { title: "Place", type: "string", className: "path", data: node((row) => el("span", "", row.path, el("br"), el("span", "quiet", row.place)), (row) => `${row.path} ${row.place}`) },
  { title: "Score", type: "num", className: "number", data: plain((row) => row.score ?? "", (row) => row.score ?? -1) },
  { title: "Raised by", type: "num", data: plain((row) => row.checks ?? "", (row) => row.agreement) },
  { title: "State", type: "string", data: plain((row) => row.state, (row) => row.state) },
  { title: "Age", type: "string", visible: rows.some((row) => row.age), data: node(age, (row) => ages[row.age] ?? "") },
];

let table;
if (rows.length) {
  table = new DataTable("#findings", {
    data: rows,
    columns,
    deferRender: true,
    autoWidth: false,
    order: [],
    pageLength: 25,
    lengthMenu: [10, 25, 100],
    layout: { topStart: "search", topEnd: "info", bottomStart: "pageLength", bottomEnd: "paging" },
    language: { search: "", searchPlaceholder: "Filter: any word", info: "_START_ to _END_ of _TOTAL_" },
    columnControl: ["order"],
    ordering: { indicators: false, handler: false },
    columnDefs: [
      { targets: [0, 1, 5, 6, 7], columnControl: ["order", [{ extend: "searchList", orthogonal: "filter" }]] },
      { targets: [3], columnControl: ["order", ["search"]] },
    ],
    createdRow: (made, row) => { made.dataset.fingerprint = row.fingerprint; made.classList.add(row.state); },
  });
  document.querySelector(".dt-search input").setAttribute("aria-label", "Filter the findings by any word");
  for (const head of document.querySelectorAll("#findings thead th")) {
    const name = head.querySelector(".dt-column-title").textContent;
    const [order, list] = head.querySelectorAll(".dtcc-button");
    order?.setAttribute("aria-label", `Sort by ${name}`);
    list?.setAttribute("aria-label", `Filter by ${name}`);
  }
  reveal();
  addEventListener("hashchange", reveal);
}

// A link to a finding: its row is found on whichever page of the table it is, and opened.
function reveal() {
  let name;
  try { name = decodeURIComponent(location.hash.slice(1)); } catch { return; }
  const index = rows.findIndex((row) => row.fingerprint === name);
  if (index < 0) return;
  table.search("").columns().search("");
  table.columns().columnControl.searchClear();
  table.draw();
  const at = table.rows({ order: "applied", search: "applied" }).indexes().indexOf(index);
  table.page(Math.floor(at / table.page.len())).draw("page");
  const row = table.row(index).node();
  open(row.querySelector("button.title"), rows[index], true);
  row.scrollIntoView({ block: "start" });
}

// Charts describe each mark for screen readers; the same words serve as a hint under the mouse.
const hint = document.querySelector("#hint");
for (const mark of document.querySelectorAll(".chart [role=graphics-symbol]")) {
  mark.addEventListener("mousemove", (event) => {
    hint.textContent = mark.getAttribute("aria-label");
    hint.hidden = false;
    hint.style.left = `${Math.min(event.pageX + 12, document.body.clientWidth - 220)}px`;
    hint.style.top = `${event.pageY + 12}px`;
  });
  mark.addEventListener("mouseleave", () => { hint.hidden = true; });
}
