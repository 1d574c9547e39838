// Particles as spheres of exact shape: one quad each, on which the fragment shader cuts the ray with the sphere.

const VERTEX = `
precision highp float;
uniform mat4 modelViewMatrix, projectionMatrix;
uniform mat3 cell;
uniform vec3 slab;                       // direction or -1, middle and half thickness as fractions of the cell
in vec3 position, fraction;
in vec4 colour;
in float diameter;
flat out vec3 vCentre;
flat out vec4 vColour;
flat out float vRadius;
flat out int vIndex;
out vec3 vPoint;
void main() {
  vColour = colour;
  vIndex = gl_InstanceID;
  vRadius = 0.5 * diameter * (colour.a > 0.5 ? 1.0 : 0.17);
  vCentre = (modelViewMatrix * vec4(cell * (fraction - 0.5), 1.0)).xyz;
  vec3 eye = normalize(-vCentre);
  vec3 right = normalize(cross(vec3(0.0, 1.0, 0.0), eye));
  float far = length(vCentre);
  // The outline of a sphere in perspective is a little larger than its radius; 5 % more leaves room for smooth edges.
  float reach = 1.05 * vRadius * far / sqrt(max(far * far - vRadius * vRadius, 1e-6));
  vPoint = vCentre + reach * (right * position.x + cross(eye, right) * position.y);
  gl_Position = projectionMatrix * vec4(vPoint, 1.0);
  if (slab.x >= 0.0) {
    float away = fraction[int(slab.x)] - slab.y;
    if (abs(away - round(away)) > slab.z) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  }
}`;

const FRAGMENT = `
precision highp float;
uniform mat4 projectionMatrix;
uniform vec3 background;
uniform vec2 haze;                       // distances between which particles fade into the background
uniform ivec2 marked;                    // picked and hovered
flat in vec3 vCentre;
flat in vec4 vColour;
flat in float vRadius;
flat in int vIndex;
in vec3 vPoint;
out vec4 result;
void main() {
  vec3 ray = normalize(vPoint);
  float along = dot(ray, vCentre);
  float square = dot(vCentre, vCentre) - along * along;
  float limb = sqrt(max(square, 0.0)) / vRadius;
  float cover = clamp((1.0 - limb) / max(fwidth(limb), 1e-5) + 0.5, 0.0, 1.0);
  if (cover <= 0.0) discard;
  vec3 hit = ray * (along - sqrt(max(vRadius * vRadius - square, 0.0)));
  vec3 normal = (hit - vCentre) / vRadius;
  float light = 0.5 + 0.5 * dot(normal, normalize(vec3(-0.45, 0.75, 0.8)));
  float shine = pow(max(dot(reflect(ray, normal), normalize(vec3(-0.45, 0.75, 0.8))), 0.0), 28.0);
  float facing = max(dot(normal, -ray), 0.0);
  vec3 shade = vColour.rgb * (0.36 + 0.72 * light * light) * (0.62 + 0.38 * smoothstep(0.0, 0.55, facing)) + 0.13 * shine;
  if (vColour.a < 0.5) shade = mix(background, vec3(0.5), 0.4);
  float mark = vIndex == marked.x ? 1.0 : vIndex == marked.y ? 0.6 : 0.0;
  shade = mix(shade, vec3(1.0, 0.2, 0.75), mark * smoothstep(0.62, 0.78, limb));
  shade = mix(shade, background, 0.55 * (1.0 - mark) * smoothstep(haze.x, haze.y, -hit.z));
  vec4 clip = projectionMatrix * vec4(hit, 1.0);
  gl_FragDepth = 0.5 * clip.z / clip.w + 0.5;
  result = vec4(shade, cover);
}`;

class ParticleView {
  constructor(canvas, data) {
    const v = vendor;
    this.canvas = canvas;
    this.data = data;
    this.renderer = new v.WebGLRenderer({ canvas, antialias: true, powerPreference: "high-performance" });
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio || 1, 2));
    this.scene = new v.Scene();
    this.camera = new v.PerspectiveCamera(28, 1, 0.1, 1000);
    this.camera.up.set(0, 0, 1);
    this.controls = new v.OrbitControls(this.camera, canvas);
    this.controls.addEventListener("change", () => this.draw());
    this.controls.zoomToCursor = true;
    this.geometry = new v.InstancedBufferGeometry();
    this.geometry.setAttribute("position", new v.Float32BufferAttribute([-1, -1, 0, 1, -1, 0, 1, 1, 0, -1, 1, 0], 3));
    this.geometry.setIndex([0, 1, 2, 0, 2, 3]);
    this.uniforms = {
      cell: { value: new v.Matrix3() }, slab: { value: new v.Vector3(-1, 0.5, 0.1) }, background: { value: new v.Color() },
      haze: { value: new v.Vector2() }, marked: { value: new v.Vector2(-1, -1) },
    };
    this.material = new v.RawShaderMaterial({
      glslVersion: v.GLSL3, vertexShader: VERTEX, fragmentShader: FRAGMENT, uniforms: this.uniforms, alphaToCoverage: true,
    });
    const mesh = new v.Mesh(this.geometry, this.material);
    mesh.frustumCulled = false;
    this.box = new v.LineSegments(new v.BufferGeometry(), new v.LineBasicMaterial());
    this.scene.add(mesh, this.box);
    new ResizeObserver(() => this.resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
    this.paint();
  }

  // Arrays of a frame; its colours come apart, since they change more often.
  setFrame(frame) {
    const v = vendor;
    const first = !this.frame;
    if (first || frame.n !== this.frame.n) {
      this.geometry.setAttribute("fraction", new v.InstancedBufferAttribute(new Uint16Array(3 * frame.n), 3, true));
      this.geometry.setAttribute("colour", new v.InstancedBufferAttribute(new Uint8Array(4 * frame.n), 4, true));
      this.geometry.setAttribute("diameter", new v.InstancedBufferAttribute(new Float32Array(frame.n), 1));
      this.geometry.instanceCount = frame.n;
    }
    const { fraction, diameter } = this.geometry.attributes;
    fraction.array.set(frame.positions);
    diameter.array.set(frame.diameters);
    fraction.needsUpdate = diameter.needsUpdate = true;
    const c = frame.cell;
    this.uniforms.cell.value.set(c[0][0], c[1][0], c[2][0], c[0][1], c[1][1], c[2][1], c[0][2], c[1][2], c[2][2]);
    this.frame = frame;
    this.size = Math.hypot(...[0, 1, 2].map((k) => Math.abs(c[0][k]) + Math.abs(c[1][k]) + Math.abs(c[2][k])));
    this.box.geometry.dispose();
    this.box.geometry = edges(c, this.data.dimension);
    if (first) this.home();
  }

  get colours() {
    this.geometry.attributes.colour.needsUpdate = true;
    return this.geometry.attributes.colour.array;
  }

  setSlab(direction, middle, half) {
    this.uniforms.slab.value.set(direction, middle, half);
  }

  mark(picked, hovered) {
    this.uniforms.marked.value.set(picked, hovered);
  }

  home() {
    const flat = this.data.dimension === 2;
    const away = (flat ? 0.46 : 0.54) * this.size / Math.tan((this.camera.fov * Math.PI) / 360) * Math.max(1, 1 / this.camera.aspect);
    const direction = flat ? new vendor.Vector3(0, -1e-3, 1) : new vendor.Vector3(0.62, -1, 0.42);
    this.controls.target.set(0, 0, 0);
    this.camera.position.copy(direction.normalize().multiplyScalar(away));
    this.controls.update();
    this.draw();
  }

  // Angles in radians; zoom is a factor of the distance.
  turn(around, up, zoom = 1) {
    const z = new vendor.Spherical();
    const offset = this.camera.position.clone().sub(this.controls.target);
    z.setFromVector3(new vendor.Vector3(offset.x, offset.z, -offset.y)); // its axis is y, ours is z
    z.theta += around;
    z.phi = Math.min(Math.PI - 0.01, Math.max(0.01, z.phi + up));
    z.radius *= zoom;
    const turned = new vendor.Vector3().setFromSpherical(z);
    this.camera.position.copy(this.controls.target).add(new vendor.Vector3(turned.x, -turned.z, turned.y));
    this.controls.update();
    this.draw();
  }

  // Index of the particle below a point of the canvas (in pixels of the page), or -1.
  pick(x, y) {
    const { width, height } = this.canvas.getBoundingClientRect();
    const ray = new vendor.Raycaster();
    ray.setFromCamera(new vendor.Vector2((2 * x) / width - 1, 1 - (2 * y) / height), this.camera);
    const { origin, direction } = ray.ray;
    const colour = this.geometry.attributes.colour.array;
    const points = this.points();
    let nearest = Infinity, found = -1;
    for (let i = 0; i < this.frame.n; i++) {
      if (!this.visible(i)) continue;
      const radius = 0.5 * this.frame.diameters[i] * (colour[4 * i + 3] ? 1 : 0.17);
      const dx = points[3 * i] - origin.x, dy = points[3 * i + 1] - origin.y, dz = points[3 * i + 2] - origin.z;
      const along = dx * direction.x + dy * direction.y + dz * direction.z;
      const inside = radius * radius - (dx * dx + dy * dy + dz * dz - along * along);
      if (inside > 0 && along - Math.sqrt(inside) < nearest) [nearest, found] = [along - Math.sqrt(inside), i];
    }
    return found;
  }

  visible(i) {
    const { x, y, z } = this.uniforms.slab.value; // direction, middle and half thickness
    if (x < 0) return true;
    const away = this.frame.positions[3 * i + x] / 65535 - y;
    return Math.abs(away - Math.round(away)) <= z;
  }

  // Places of all particles of the frame in the scene, whose origin is the middle of the cell.
  points() {
    if (this.pointsOf !== this.frame) {
      const [a, b, c] = this.frame.cell, from = this.frame.positions;
      this.place = new Float32Array(from.length);
      for (let i = 0; i < from.length; i += 3) {
        const x = from[i] / 65535 - 0.5, y = from[i + 1] / 65535 - 0.5, z = from[i + 2] / 65535 - 0.5;
        for (let k = 0; k < 3; k++) this.place[i + k] = x * a[k] + y * b[k] + z * c[k];
      }
      this.pointsOf = this.frame;
    }
    return this.place;
  }

  position(i) {
    return Array.from(this.points().subarray(3 * i, 3 * i + 3));
  }

  paint() {
    const style = getComputedStyle(document.documentElement);
    this.renderer.setClearColor(style.getPropertyValue("--stage").trim());
    this.uniforms.background.value.setStyle(style.getPropertyValue("--stage").trim(), "");
    this.box.material.color.setStyle(style.getPropertyValue("--soft").trim());
    this.draw();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    if (!clientWidth || !clientHeight) return;
    const narrow = this.camera.aspect;
    this.renderer.setSize(clientWidth, clientHeight, false);
    this.camera.aspect = clientWidth / clientHeight;
    this.camera.updateProjectionMatrix();
    // A box that filled a wide window still fits a narrow one.
    const factor = Math.max(1, 1 / this.camera.aspect) / Math.max(1, 1 / narrow);
    if (this.frame && factor !== 1) this.turn(0, 0, factor);
    this.draw();
  }

  // At most one picture for each refresh of the screen, and none while nothing changes.
  draw() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.drawNow();
    });
  }

  drawNow() {
    if (!this.frame) return;
    const middle = this.camera.position.length();
    this.uniforms.haze.value.set(middle - 0.15 * this.size, middle + 0.55 * this.size);
    this.camera.near = Math.max(middle - this.size, 0.02 * this.size);
    this.camera.far = middle + this.size;
    this.camera.updateProjectionMatrix();
    this.renderer.render(this.scene, this.camera);
  }
}

// The twelve edges of a cell around the origin; four in two dimensions.
function edges(cell, dimension) {
  const points = [];
  const corner = (n) => [0, 1, 2].map((k) => (n[0] - 0.5) * cell[0][k] + (n[1] - 0.5) * cell[1][k] + (n[2] - 0.5) * cell[2][k]);
  for (let direction = 0; direction < dimension; direction++) {
    for (let other = 0; other < (dimension === 3 ? 4 : 2); other++) {
      const n = [0, 0, dimension === 3 ? 0 : 0.5];
      const rest = [0, 1, 2].filter((k) => k !== direction && k < dimension);
      rest.forEach((k, bit) => (n[k] = (other >> bit) & 1));
      points.push(...corner(n));
      n[direction] = 1;
      points.push(...corner(n));
    }
  }
  const geometry = new vendor.BufferGeometry();
  geometry.setAttribute("position", new vendor.Float32BufferAttribute(points, 3));
  return geometry;
}
