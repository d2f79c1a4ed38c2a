"use strict";
// What is known of every candidate, as columns that can be drawn, sorted and filtered.
const Columns = (data) => {
  const { number } = Page;
  const all = data.candidates;
  const objectives = data.objectives;
  const objectiveKeys = objectives.map((o) => o.key);
  const rowOf = new Map(all.id.map((id, row) => [id, row]));
  const [FRONT, DOMINATED, INFEASIBLE, FAILED] = ["front", "dominated", "infeasible", "failed"].map((name) =>
    all.states.indexOf(name),
  );

  const columns = new Map();
  const add = (column) => {
    if (!columns.has(column.key)) columns.set(column.key, column);
  };
  for (const [key, values] of Object.entries(all.values)) {
    const info = objectives.find((o) => o.key === key);
    add({ key, name: key, values, group: info ? "objectives" : "metrics", info });
  }
  for (const gene of all.genes) {
    add({ ...gene, key: gene.path, group: "genes" });
  }
  if (all.seconds.total) add({ key: "seconds", name: "seconds", values: all.seconds.total, group: "other" });
  add({ key: "generation", name: "generation", values: all.generation, group: "other" });
  const column = (key) => columns.get(key);
  const numeric = [...columns.values()].filter((c) => !c.labels);
  const genes = [...columns.values()].filter((c) => c.group === "genes");

  const text = (c, row) => {
    const value = c.values[row];
    if (value === null || value === undefined) return "";
    return c.labels ? c.labels[value] : number(value);
  };
  /** As `text`, but accuracies below each other have as many digits. */
  const aligned = (c, row) =>
    c.info?.unit === "fraction" && typeof c.values[row] === "number"
      ? c.values[row].toFixed(digits(c))
      : text(c, row);
  const digits = (c) =>
    (c.digits ??= Math.max(
      0,
      ...c.values.filter((v) => v !== null).map((v) => (number(v).split(".")[1] ?? "").length),
    ));
  const title = (c) => {
    if (!c.info) return c.name;
    const unit = c.info.unit === "fraction" || c.info.unit.toLowerCase() === c.key ? "" : ` [${c.info.unit}]`;
    return `${c.name}${unit} (${c.info.sense === "maximize" ? "higher" : "lower"} is better)`;
  };
  const spread = (c) => {
    const there = c.values.filter((v, row) => v !== null && all.state[row] <= DOMINATED);
    return there.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  };
  /** Whether an axis is logarithmic unless told otherwise: what spans a factor of ten, but no accuracy. */
  const wide = (c) => {
    if (c.labels || c.info?.unit === "fraction") return false;
    const [low, high] = spread(c);
    return c.log || (low > 0 && high / low > 10);
  };
  const shared = (c) => new Set(c.values).size < 2;

  /** Positions on an axis of parallel coordinates: every gene is a number there, inactive ones lie below. */
  function scaleOf(c) {
    if (c.labels) {
      const inactive = c.values.some((v) => v === null);
      const ticks = c.labels.map((name, index) => [index, name]);
      return {
        at: (row) => c.values[row] ?? -1,
        range: [inactive ? -1.2 : -0.2, c.labels.length - 0.8],
        ticks: inactive ? [[-1, "none"], ...ticks] : ticks,
      };
    }
    const [least, most] = c.low === undefined ? spread(c) : [c.low, c.high];
    const log = least > 0 && (c.log || (c.group !== "genes" && wide(c)));
    const on = (value) => (log ? Math.log10(value) : value);
    let [low, high] = Number.isFinite(least) ? [on(least), on(most)] : [0, 1];
    if (low === high) [low, high] = [low - 0.5, high + 0.5];
    const inactive = c.group === "genes" && c.values.some((v) => v === null);
    const none = low - (high - low) * 0.15;
    const ticks = nice(log ? 10 ** low : low, log ? 10 ** high : high, log).map((v) => [on(v), number(v)]);
    const range = [inactive ? low - (high - low) * 0.2 : low, high];
    return {
      at: (row) =>
        typeof c.values[row] === "number" ? Math.min(high, Math.max(low, on(c.values[row]))) : none,
      range: c.info?.sense === "minimize" ? range.reverse() : range,
      ticks: inactive ? [[none, "none"], ...ticks] : ticks,
    };
  }

  function nice(low, high, log) {
    if (log) {
      const found = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
        for (const digit of [1, 2, 5]) found.push(Number((digit * 10 ** power).toPrecision(1)));
      }
      const inside = found.filter((v) => v >= low * 0.999 && v <= high * 1.001);
      return inside.length > 1 ? inside : [low, high];
    }
    const rough = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((d) => d * power).find((d) => d >= rough);
    const found = [];
    for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step)
      found.push(Number(v.toPrecision(10)));
    return found;
  }

  const scales = new Map();
  const scale = (key) => {
    if (!scales.has(key)) scales.set(key, scaleOf(column(key)));
    return scales.get(key);
  };

  const states = { FRONT, DOMINATED, INFEASIBLE, FAILED };
  const reading = { columns, column, numeric, genes, text, aligned, title, spread, wide, shared, scale };
  return { objectives, objectiveKeys, rowOf, ...states, ...reading };
};
