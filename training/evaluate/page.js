"use strict";
// One hidden video holds all tiles of a clip, each above its error; every frame is cut up into the tiles' canvases, so
// that they cannot run apart.
const showcases = JSON.parse(document.getElementById("showcases").textContent);
const element = (id) => document.getElementById(id);

function figuresOf(point, labels) {
  if (!("wire_bits_per_s" in point)) return [];
  const rate = (bits) => (bits / 1000).toFixed(1);
  const lines = [`${rate(point.wire_bits_per_s)} kbit/s on the wire, ${rate(point.payload_bits_per_s)} payload`];
  const metrics = labels.filter(([metric]) => typeof point[metric] === "number");
  lines.push(metrics.map(([metric, name, digits]) => `${name} ${point[metric].toFixed(digits)}`).join(" · "));
  return lines;
}

class Viewer {
  constructor(video, tiles, references) {
    this.video = video;
    this.tilesElement = tiles;
    this.referencesElement = references;
    this.cells = [];
    const draw = () => this.draw();
    if ("requestVideoFrameCallback" in video) {
      const onFrame = () => { draw(); video.requestVideoFrameCallback(onFrame); };
      video.requestVideoFrameCallback(onFrame);
    } else {
      const onPaint = () => { draw(); requestAnimationFrame(onPaint); };
      requestAnimationFrame(onPaint);
    }
    for (const event of ["seeked", "loadeddata"]) video.addEventListener(event, draw);
  }

  show(showcase) {
    this.showcase = showcase;
    this.cells = [];
    this.tilesElement.replaceChildren();
    showcase.tiles.forEach((tile, index) => this.addTile(tile, index));
    this.referencesElement.replaceChildren(...showcase.references.map(referenceOf));
    this.video.src = showcase.video;
    this.choose();
  }

  addTile(tile, index) {
    const box = document.createElement("div");
    box.className = `tile ${tile.name === "Warpcall" ? "ours" : ""}`;
    box.dataset.setting = tile.setting;
    box.dataset.name = tile.name;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = this.showcase.size;
    box.append(canvas);
    addText(box, "name", TITLES[tile.name] ?? tile.name);
    figuresOf(tile.point, LABELS).forEach((line) => addText(box, "figures", line));
    this.tilesElement.append(box);
    this.cells.push({ box, context: canvas.getContext("2d"), tile, index });
  }

  choose() {
    const setting = element("setting").value;
    for (const { box, tile } of this.cells) box.hidden = tile.setting !== "" && tile.setting !== setting;
    this.draw();
  }

  draw() {
    if (!this.showcase || this.video.readyState < 2) return;
    const { size, columns } = this.showcase;
    const below = element("errors").checked ? size : 0;
    for (const { box, context, tile, index } of this.cells) {
      if (box.hidden) continue;
      const down = tile.name === "source" ? 0 : below;
      const left = (index % columns) * size;
      const top = Math.floor(index / columns) * 2 * size + down;
      context.drawImage(this.video, left, top, size, size, 0, 0, size, size);
    }
    element("position").value = this.video.currentTime / (this.video.duration || 1);
    element("frame").textContent = `frame ${Math.round(this.video.currentTime * this.showcase.fps)}`;
  }
}

function addText(box, name, text) {
  const line = document.createElement("div");
  line.className = name;
  line.textContent = text;
  box.append(line);
}

function referenceOf(reference, index) {
  const figure = document.createElement("figure");
  figure.style.borderColor = COLOURS[index % COLOURS.length];
  const picture = new Image();
  picture.src = reference.picture;
  picture.alt = `reference ${index + 1}`;
  const caption = document.createElement("figcaption");
  caption.textContent = `reference ${index + 1}: frame ${reference.position}`;
  figure.append(picture, caption);
  return figure;
}

if (showcases.length) {
  const video = element("video");
  const viewer = new Viewer(video, element("tiles"), element("references"));
  const shown = () => { element("play").textContent = video.paused ? "Play" : "Pause"; };
  for (const event of ["play", "pause"]) video.addEventListener(event, shown);
  element("play").addEventListener("click", () => (video.paused ? video.play() : video.pause()));
  element("speed").addEventListener("change", (event) => { video.playbackRate = Number(event.target.value); });
  element("position").addEventListener("input", (event) => {
    video.currentTime = event.target.value * video.duration;
  });
  element("errors").addEventListener("change", () => viewer.draw());
  element("setting").addEventListener("change", () => viewer.choose());
  element("clip").addEventListener("change", (event) => {
    viewer.show(showcases[event.target.selectedIndex]);
    video.playbackRate = Number(element("speed").value);
    video.play();
  });
  viewer.show(showcases[0]);
}
