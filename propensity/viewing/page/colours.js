// From values to colours: a look-up table and a range for each species.

const GREY = [140, 146, 156];

// Range [low, high] of each species for the chosen scale; ranges hold over all frames, so that frames compare.
function rangesOf(data, field, time, scale) {
  const stored = data.ranges[field][time];
  if (scale === "own") return stored.map((range) => range && range.slice(0, 2));
  const known = stored.filter(Boolean);
  const one = scale === "all" ? [Math.min(...known.map((r) => r[0])), Math.max(...known.map((r) => r[1]))] : relativeRange(known);
  return stored.map((range) => range && one);
}

// In units of the mean of the species, which takes the middle of the colour map whatever the two ends are.
function relativeRange(ranges) {
  return [Math.min(0.999, ...ranges.map(([low, , mean]) => low / mean)), Math.max(1.001, ...ranges.map(([, high, mean]) => high / mean))];
}

// Place of a value in the colour map, 0 to 1.
function placeOf(value, [low, high], scale) {
  if (scale !== "relative") return (value - low) / (high - low || 1);
  return value < 1 ? (0.5 * (value - low)) / (1 - low) : 0.5 + (0.5 * (value - 1)) / (high - 1);
}

// Bytes r, g, b and 255 (shown) or 0 (faded) of each particle.
function coloursOf(data, state, out) {
  const frame = data.frames[state.frame];
  const values = valuesOf(frame, state.field, state.time);
  const ranges = rangesOf(data, state.field, state.time, state.scale).map((r) => r || [0, 1]);
  const means = data.ranges[state.field][state.time].map((r) => (r ? r[2] : 1));
  const table = data.maps[state.map];
  const limits = state.fastest < 100 ? fastLimits(frame, values, data.species.length, state.fastest / 100) : null;
  for (let i = 0; i < frame.n; i++) {
    const kind = frame.types[i];
    const value = state.scale === "relative" ? values[i] / means[kind] : values[i];
    const known = Number.isFinite(value);
    const step = known ? 3 * Math.round(255 * Math.min(1, Math.max(0, placeOf(value, ranges[kind], state.scale)))) : 0;
    for (let c = 0; c < 3; c++) out[4 * i + c] = known ? table[step + c] : GREY[c];
    out[4 * i + 3] = !limits || values[i] >= limits[kind] ? 255 : 0;
  }
  return out;
}

// Smallest value of the fastest share of each species.
function fastLimits(frame, values, nSpecies, share) {
  const limits = [];
  for (let kind = 0; kind < nSpecies; kind++) {
    const own = Float32Array.from(values.filter((v, i) => frame.types[i] === kind && Number.isFinite(v))).sort();
    limits.push(own.length ? own[Math.max(0, own.length - Math.max(1, Math.round(share * own.length)))] : Infinity);
  }
  return limits;
}

function drawLegend(data, state) {
  const { select, scaleLinear, axisBottom } = vendor;
  const box = select("#legend");
  box.selectAll("*").remove();
  const relative = state.scale === "relative";
  const unit = data.units[state.field] && ` (${data.units[state.field]})`;
  box.append("p").text(`${data.fields[state.field]}${atTime(data, state.time)}${relative ? " / mean of the species" : unit}`);
  const ranges = rangesOf(data, state.field, state.time, state.scale);
  const one = state.scale !== "own" || data.species.length === 1;
  const table = data.maps[state.map];
  const stops = Array.from({ length: 17 }, (_, k) => `rgb(${Array.from(table.subarray(48 * k - (k === 16 ? 3 : 0)).subarray(0, 3))})`);
  data.species.forEach((name, kind) => {
    if (!ranges[kind] || (one && kind !== ranges.findIndex(Boolean))) return;
    const bar = box.append("div").attr("class", "bar");
    bar.append("span").text(state.scale === "own" ? name : "");
    const svg = bar.append("svg").attr("width", 168).attr("height", 30);
    const paint = `paint${kind}`;
    const gradient = svg.append("defs").append("linearGradient").attr("id", paint);
    stops.forEach((colour, k) => gradient.append("stop").attr("offset", k / 16).attr("stop-color", colour));
    svg.append("rect").attr("width", 160).attr("height", 11).attr("rx", 3).attr("fill", `url(#${paint})`);
    const axis = axisBottom(scaleLinear(...(relative ? [[ranges[kind][0], 1, ranges[kind][1]], [0, 80, 160]] : [ranges[kind], [0, 160]]))).ticks(3).tickSize(3).tickFormat(number);
    svg.append("g").attr("class", "axis").attr("transform", "translate(0,11)").call(axis).select(".domain").remove();
  });
}
