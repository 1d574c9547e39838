// What the page shows: a description in JSON and one block of bytes that it points into.

const KINDS = { f4: Float32Array, f8: Float64Array, i4: Int32Array, u1: Uint8Array, u2: Uint16Array };

function readData() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const buffer = bytesOf(document.getElementById("arrays").textContent.trim()).buffer;
  const array = (reference) => reference && new KINDS[reference[0]](buffer, reference[1], reference[2]);
  for (const frame of data.frames) {
    for (const name of ["positions", "types", "ids", "diameters"]) frame[name] = array(frame[name]);
    for (const name of Object.keys(frame.fields)) frame.fields[name] = array(frame.fields[name]);
    frame.n = frame.types.length;
  }
  data.maps = Object.fromEntries(Object.entries(data.maps).map(([name, reference]) => [name, array(reference)]));
  return data;
}

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let k = 0; k < text.length; k++) bytes[k] = text.charCodeAt(k);
  return bytes;
}

// Values of all particles of a frame at one time scale; stored time by time.
function valuesOf(frame, field, time) {
  return frame.fields[field].subarray(time * frame.n, (time + 1) * frame.n);
}

// What a field is called with its unit, where that is known.
function titleOf(data, field) {
  return data.fields[field] + (data.units[field] ? ` (${data.units[field]})` : "");
}

// ", t = 130" where the file says the time.
function atTime(data, time) {
  return Number.isFinite(data.times[time]) ? `, t = ${number(data.times[time])}` : "";
}

// Four significant digits, without an exponent where a reader would not write one.
function number(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}
