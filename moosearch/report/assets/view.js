"use strict";
// What the user has chosen, kept in the address, and which candidates pass the filters.
const View = (data, known) => {
  const MOST_PINS = 6;
  const all = data.candidates;
  const count = all.id.length;
  const { columns, column, numeric, genes, wide, shared, scale, objectives, objectiveKeys, rowOf } = known;
  const byId = (id) => document.getElementById(id);

  const costs = objectives.filter((o) => o.sense === "minimize").map((o) => o.key);
  const gains = objectives.filter((o) => o.sense === "maximize").map((o) => o.key);
  const across = objectives.length > 1 ? (costs[0] ?? objectiveKeys[0]) : "generation";
  const up = gains.at(-1) ?? objectiveKeys.find((key) => key !== across);
  const halfActive = genes.filter(
    (g) => !shared(g) && g.values.filter((v) => v !== null).length * 2 >= count,
  );
  const defaults = {
    x: across,
    y: up,
    c: objectiveKeys.find((key) => key !== across && key !== up) ?? "generation",
    xlog: wide(column(across)),
    ylog: wide(column(up)),
    near: true,
    confirmed: true,
    pins: [],
    where: "",
    brush: {},
    only: count > 300,
    axes: [...(halfActive.length ? halfActive : genes).slice(0, 7).map((g) => g.key), ...objectiveKeys],
    weights: objectives.map(() => 50),
    rule: "compromise",
    q: "",
    status: "",
    sort: "state",
    page: 1,
  };
  const S = structuredClone(defaults);

  function readState() {
    const given = Page.state.read();
    for (const axis of ["x", "y", "c"]) if (columns.has(given.get(axis))) S[axis] = given.get(axis);
    for (const flag of ["xlog", "ylog", "near", "only", "confirmed"]) {
      if (given.has(flag)) S[flag] = given.get(flag) === "1";
    }
    const list = (name) => (given.get(name) ?? "").split(",").filter(Boolean);
    S.pins = list("pins")
      .filter((id) => rowOf.has(id))
      .slice(0, MOST_PINS);
    const axes = list("axes").filter((key) => columns.has(key));
    if (axes.length) S.axes = [...new Set(axes)];
    const weights = list("weights").map(Number);
    if (weights.length === objectives.length && weights.every((w) => w >= 0 && w <= 100)) S.weights = weights;
    if (given.get("rule") === "asf") S.rule = "asf";
    for (const name of ["where", "q"]) S[name] = given.get(name) ?? "";
    if (all.states.includes(given.get("status"))) S.status = given.get("status");
    if (
      columns.has((given.get("sort") ?? "").replace(/^-/, "")) ||
      /^-?(id|state)$/.test(given.get("sort"))
    ) {
      S.sort = given.get("sort");
    }
    S.page = Math.max(1, Math.trunc(Number(given.get("page"))) || 1);
    try {
      for (const [key, ranges] of Object.entries(JSON.parse(given.get("brush") ?? "{}"))) {
        const sound =
          Array.isArray(ranges) &&
          ranges.length > 0 &&
          ranges.every((r) => Array.isArray(r) && r.length === 2 && r.every(Number.isFinite));
        if (columns.has(key) && sound) S.brush[key] = ranges;
      }
    } catch {
      /* an address that was cut off: no brush */
    }
  }

  function writeState() {
    const written = {};
    for (const [name, value] of Object.entries(S)) {
      if (JSON.stringify(value) === JSON.stringify(defaults[name])) continue;
      if (typeof value === "boolean") written[name] = value ? "1" : "0";
      else if (Array.isArray(value)) written[name] = value.join(",");
      else written[name] = typeof value === "object" ? JSON.stringify(value) : String(value);
    }
    Page.state.write(written);
  }

  // ---------------------------------------------------------------- filters

  const keeps = new Uint8Array(count).fill(1); // the constraints
  const inBrush = new Uint8Array(count).fill(1);
  const visible = (row) => keeps[row] && inBrush[row];

  /** Read `robust_accuracy>=0.4, flops<=2e6`; throws an error that says what is wrong. */
  function constraints(written) {
    const names = new Map();
    for (const c of numeric) for (const name of [c.name, c.key]) names.set(name, c);
    return written
      .split(",")
      .map((part) => part.trim())
      .filter(Boolean)
      .map((part) => {
        const [, name, relation, amount] = /^([^<>=]+?)\s*(<=|>=)\s*(\S+)$/.exec(part) ?? [];
        if (!name) throw new Error(`'${part}' is no bound; write NAME<=NUMBER or NAME>=NUMBER.`);
        if (!names.has(name))
          throw new Error(`Nothing is measured as '${name}'. ${nearest(name, [...names.keys()])}`);
        const bound = Number(amount);
        if (!Number.isFinite(bound)) throw new Error(`'${amount}' is no number, in '${part}'.`);
        return { column: names.get(name), relation, bound };
      });
  }

  function nearest(name, known) {
    const distance = (a, b) => {
      let before = [...Array(b.length + 1).keys()];
      for (let i = 1; i <= a.length; i++) {
        const now = [i];
        for (let j = 1; j <= b.length; j++) {
          now.push(Math.min(before[j] + 1, now[j - 1] + 1, before[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1)));
        }
        before = now;
      }
      return before[b.length];
    };
    const best = known.map((other) => [distance(name, other), other]).sort((a, b) => a[0] - b[0])[0];
    const close = best && best[0] <= Math.max(2, name.length / 3);
    return close ? `Did you mean '${best[1]}'?` : `There are: ${objectiveKeys.join(", ")} and numeric genes.`;
  }

  function filter() {
    const said = byId("where-said");
    const where = byId("where");
    let bounds = [];
    try {
      bounds = constraints(S.where);
      said.className = "soft";
      where.removeAttribute("aria-invalid");
    } catch (error) {
      said.textContent = error.message;
      said.className = "wrong";
      where.setAttribute("aria-invalid", "true");
      bounds = null;
    }
    const brushed = Object.entries(S.brush).map(([key, ranges]) => [scale(key).at, ranges]);
    let left = 0;
    for (let row = 0; row < count; row++) {
      keeps[row] = Number(
        (bounds ?? []).every(({ column: c, relation, bound }) => {
          const value = c.values[row];
          return typeof value === "number" && (relation === "<=" ? value <= bound : value >= bound);
        }),
      );
      inBrush[row] = Number(
        brushed.every(([at, ranges]) => ranges.some(([a, b]) => at(row) >= a && at(row) <= b)),
      );
      left += visible(row);
    }
    if (bounds) {
      said.textContent =
        left === count
          ? count === 1
            ? "the only candidate"
            : `all ${Page.counted(count, "candidate")}`
          : `${left.toLocaleString("en-US")} of ${Page.counted(count, "candidate")}, ${all.front.filter(visible).length} of the front`;
    }
  }

  // ---------------------------------------------------------------- decisions

  /** Losses of the rows, scaled to the range of the rows: 0 the best, 1 the worst, as `decision.scaled`. */
  function scaled(rows) {
    const parts = objectives.map(({ key, sense }) => {
      const values = rows.map((row) => (sense === "maximize" ? -1 : 1) * column(key).values[row]);
      const low = Math.min(...values);
      const span = Math.max(...values) - low;
      return values.map((v) => (span > 0 ? (v - low) / span : 0));
    });
    return rows.map((_, i) => parts.map((part) => part[i]));
  }

  /** The row that weights choose, as `compromise` and `asf` of `moosearch.pareto`; undefined of none. */
  function weighted(rows, weights, rule) {
    const sum = weights.reduce((a, b) => a + b, 0);
    if (!rows.length || !sum) return undefined;
    const values = scaled(rows).map((losses) => {
      const shares = losses.map((loss, j) => (loss * weights[j]) / sum);
      return rule === "asf"
        ? Math.max(...shares) + 1e-3 * shares.reduce((a, b) => a + b, 0)
        : Math.hypot(...shares);
    });
    return rows[values.indexOf(Math.min(...values))];
  }

  const chosen = () => weighted(all.front.filter(visible), S.weights, S.rule);
  const member = (row) => data.confirmation?.members.find((m) => m.id === all.id[row] && m.trainings);

  return { S, MOST_PINS, readState, writeState, keeps, visible, filter, chosen, member };
};
