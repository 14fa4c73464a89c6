// The table becomes sortable and filterable; without JavaScript it is still a table.
if (document.querySelector("#findings")) {
  new DataTable("#findings", {
    autoWidth: false,
    order: [],
    pageLength: 25,
    lengthMenu: [10, 25, 100, { label: "all", value: -1 }],
    layout: { topStart: "search", topEnd: "info", bottomStart: "pageLength", bottomEnd: "paging" },
    language: { search: "", searchPlaceholder: "Filter: any word", info: "_START_ to _END_ of _TOTAL_" },
    columnControl: ["order"],
    ordering: { indicators: false, handler: false },
    columnDefs: [
      { targets: [0, 1, 5, 6], columnControl: ["order", ["searchList"]] },
      { targets: [3], columnControl: ["order", ["search"]] },
    ],
  });
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
