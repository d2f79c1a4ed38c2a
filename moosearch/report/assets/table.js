"use strict";
// All candidates as a table that is sorted, searched, turned over and downloaded.
const Table = (data, known, view, update) => {
  const { el } = Page;
  const { columns, column, genes, text, aligned } = known;
  const { S, visible } = view;
  const PAGE_ROWS = 50;
  const all = data.candidates;
  const count = all.id.length;
  const byId = (id) => document.getElementById(id);

  const shownColumns = [...columns.values()].filter((c) => c.values.some((v) => v !== null));
  const words = all.id.map((id, row) =>
    [
      id,
      all.states[all.state[row]],
      ...genes.filter((g) => g.labels).map((g) => text(g, row)),
      ...(all.errors[row] ?? []),
    ]
      .join(" ")
      .toLowerCase(),
  );

  function tableRows() {
    const query = S.q.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (let row = 0; row < count; row++) {
      if (
        visible(row) &&
        (!S.status || all.states[all.state[row]] === S.status) &&
        query.every((word) => words[row].includes(word))
      )
        found.push(row);
    }
    const key = S.sort.replace(/^-/, "");
    const way = S.sort.startsWith("-") ? -1 : 1;
    const c = column(key);
    const value =
      key === "id"
        ? (row) => all.id[row]
        : key === "state"
          ? (row) => all.state[row]
          : c?.labels
            ? (row) => (c.values[row] === null ? null : c.labels[c.values[row]])
            : (row) => c.values[row] ?? null;
    if (key) {
      found.sort((a, b) => {
        const [u, v] = [value(a), value(b)];
        if (u === null || v === null) return (u === null) - (v === null);
        return way * (u < v ? -1 : u > v ? 1 : 0) || a - b;
      });
    }
    return found;
  }

  function draw() {
    const found = tableRows();
    const pages = Math.max(1, Math.ceil(found.length / PAGE_ROWS));
    S.page = Math.min(S.page, pages);
    const shown = found.slice((S.page - 1) * PAGE_ROWS, S.page * PAGE_ROWS);
    const failed = found.some((row) => all.errors[row]);
    const heading = (key, name, number2, hint) => {
      const [way, arrow] =
        S.sort === key ? ["ascending", " ▲"] : S.sort === `-${key}` ? ["descending", " ▼"] : ["none", ""];
      return el(
        "th",
        { scope: "col", class: number2 ? "n" : false, "aria-sort": way },
        el("button", {
          type: "button",
          class: "sort",
          title: hint ?? false,
          "data-sort": key,
          text: name + arrow,
          onclick: () => sortBy(key),
        }),
      );
    };
    const head = el(
      "tr",
      {},
      heading("id", "id"),
      heading("state", "status"),
      ...shownColumns.map((c) => heading(c.key, c.name, !c.labels, c.key)),
      failed ? el("th", { text: "failure" }) : null,
    );
    const body = shown.map((row) => {
      const pinned = S.pins.includes(all.id[row]);
      return el(
        "tr",
        { "data-id": all.id[row], class: `${pinned ? "pinned " : ""}${all.states[all.state[row]]}` },
        el(
          "th",
          { scope: "row" },
          el("button", {
            type: "button",
            class: "row-pin id",
            "aria-pressed": String(pinned),
            title: pinned ? "Unpin" : "Pin",
            text: all.id[row],
          }),
        ),
        el("td", { text: all.states[all.state[row]] }),
        ...shownColumns.map((c) => el("td", { class: c.labels ? false : "n", text: aligned(c, row) })),
        failed ? el("td", { class: "error", text: (all.errors[row] ?? []).join(": ") }) : null,
      );
    });
    const focused = document.activeElement?.dataset?.sort;
    byId("rows").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...body)));
    if (focused) document.querySelector(`[data-sort="${CSS.escape(focused)}"]`)?.focus();
    byId("count").textContent = `${found.length.toLocaleString("en-US")} of ${count.toLocaleString("en-US")}`;
    const step = (name, to) =>
      el("button", {
        type: "button",
        text: name,
        disabled: to < 1 || to > pages,
        onclick: () => {
          S.page = to;
          update("page");
        },
      });
    byId("pager").replaceChildren(
      ...(pages > 1
        ? [
            step("First", S.page > 1 ? 1 : 0),
            step("Previous", S.page - 1),
            el("span", { class: "soft", text: `page ${S.page} of ${pages}` }),
            step("Next", S.page + 1),
            step("Last", S.page < pages ? pages : 0),
          ]
        : []),
    );
  }

  function sortBy(key) {
    const best = column(key)?.info?.sense === "maximize" ? `-${key}` : key;
    const other = best === key ? `-${key}` : key;
    S.sort = S.sort === best ? other : S.sort === other ? "" : best;
    S.page = 1;
    update("sort");
  }

  function csv() {
    const quoted = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    // A spreadsheet takes a text that begins so for a formula.
    const safe = (value) => quoted(/^[=+\-@\t\r]/.test(value) ? `'${value}` : value);
    const cell = (c, row) =>
      c.values[row] === null ? "" : c.labels ? safe(c.labels[c.values[row]]) : String(c.values[row]);
    const lines = tableRows().map((row) => [
      all.id[row],
      all.states[all.state[row]],
      ...shownColumns.map((c) => cell(c, row)),
      safe((all.errors[row] ?? []).join(": ")),
    ]);
    const head = ["id", "status", ...shownColumns.map((c) => safe(c.key)), "failure"];
    return [head, ...lines].map((line) => line.join(",")).join("\r\n") + "\r\n";
  }

  return { draw, csv };
};
