"use strict";
(() => {
  const addresses = {};
  // An object URL, not a data URL: Safari plays no video from the latter.
  function address(name) {
    if (!(name in addresses)) {
      const bytes = Uint8Array.from(atob(document.getElementById(name).textContent), sign => sign.charCodeAt(0));
      addresses[name] = URL.createObjectURL(new Blob([bytes], {type: "video/mp4"}));
    }
    return addresses[name];
  }

  const SLACK = 0.06; // seconds that clips may be apart
  const groups = [...document.querySelectorAll(".group")];
  const clipsOf = group => [...group.querySelectorAll("video[data-clip]")];
  let playing = null;

  function label(group, isPlaying) {
    const button = group.querySelector(".play");
    button.textContent = isPlaying ? "❚❚ Pause" : "▶ Play";
    button.setAttribute("aria-label", button.getAttribute("aria-label").replace(/^\w+/, isPlaying ? "Pause" : "Play"));
  }

  function pause(group) {
    clipsOf(group).forEach(clip => clip.pause());
    label(group, false);
    if (playing === group) playing = null;
  }

  const loaded = clip => clip.readyState >= 2 ? null : new Promise(resolve => {
    for (const name of ["loadeddata", "error"]) clip.addEventListener(name, resolve, {once: true});
  });

  async function play(group) {
    if (playing) pause(playing);
    playing = group;
    label(group, true);
    const clips = clipsOf(group);
    const lead = clips.find(clip => "lead" in clip.dataset) ?? clips[0];
    for (const clip of clips) {
      if (!clip.src) clip.src = address(clip.dataset.clip);
      clip.preload = "auto";
    }
    await Promise.all(clips.map(loaded));
    if (playing !== group) return;
    const at = lead.ended ? 0 : lead.currentTime;
    for (const clip of clips) clip.currentTime = Math.min(at, clip.duration || 0);
    await Promise.allSettled(clips.map(clip => clip.play()));
    requestAnimationFrame(function step() {
      if (playing !== group) return;
      if (lead.ended) {
        for (const clip of clips) {
          clip.currentTime = 0;
          clip.play();
        }
      } else if (!lead.seeking) {
        for (const clip of clips) {
          const isOff = Math.abs(clip.currentTime - lead.currentTime) > SLACK;
          if (clip !== lead && isOff && !clip.ended && !clip.seeking) clip.currentTime = lead.currentTime;
        }
      }
      requestAnimationFrame(step);
    });
  }

  for (const group of groups) {
    const button = group.querySelector(".play");
    const toggle = () => playing === group ? pause(group) : play(group);
    button?.addEventListener("click", toggle);
    const zoom = group.querySelector(".zoom");
    const at = {x: 50, y: 50};
    const look = () => {
      group.style.setProperty("--x", `${at.x}%`);
      group.style.setProperty("--y", `${at.y}%`);
    };
    zoom.addEventListener("click", () => {
      const isOn = group.classList.toggle("zoomed");
      zoom.setAttribute("aria-pressed", isOn);
    });
    zoom.addEventListener("keydown", event => {
      const step = {ArrowLeft: ["x", -10], ArrowRight: ["x", 10], ArrowUp: ["y", -10], ArrowDown: ["y", 10]}[event.key];
      if (!step || !group.classList.contains("zoomed")) return;
      event.preventDefault();
      at[step[0]] = Math.max(0, Math.min(100, at[step[0]] + step[1]));
      look();
    });
    for (const shot of group.querySelectorAll(".shot")) {
      if (button) shot.addEventListener("click", toggle);
      shot.addEventListener("pointermove", event => {
        const box = shot.getBoundingClientRect();
        at.x = Math.round(100 * (event.clientX - box.left) / box.width);
        at.y = Math.round(100 * (event.clientY - box.top) / box.height);
        if (group.classList.contains("zoomed")) look();
      });
    }
  }

  const filters = [...document.querySelectorAll("[data-filter]")];
  const fakes = groups.filter(group => "verdict" in group.dataset);
  function filter() {
    let shown = 0;
    for (const group of fakes) {
      group.hidden = !filters.every(({value, dataset}) => value === "*" || group.dataset[dataset.filter] === value);
      if (group.hidden && playing === group) pause(group);
      shown += !group.hidden;
    }
    document.querySelector(".shown").textContent = `${shown} of ${fakes.length} fakes`;
    document.querySelector(".nothing").hidden = shown > 0;
  }
  for (const one of filters) one.addEventListener("change", filter);
})();
