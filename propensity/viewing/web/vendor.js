// What the report page uses of its libraries; the bundle makes it one global, `vendor`.
export {
  AmbientLight, BufferGeometry, Color, DoubleSide, Float32BufferAttribute, GLSL3, InstancedBufferAttribute,
  InstancedBufferGeometry, LineBasicMaterial, LineSegments, Matrix3, Mesh, PerspectiveCamera, Raycaster, REVISION,
  RawShaderMaterial, Scene, Spherical, Vector2, Vector3, WebGLRenderer,
} from "three";
export { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
export { bin, extent, max, quantile } from "d3-array";
export { axisBottom, axisLeft } from "d3-axis";
export { scaleLinear, scaleLog } from "d3-scale";
export { select } from "d3-selection";
export { area, line } from "d3-shape";
