// Line icons on a grid of 24, drawn for this dashboard.

const PATHS = {
  overview: "M4 13h6V4H4zM14 20h6v-9h-6zM4 20h6v-3H4zM14 7h6V4h-6z",
  nodes: "M4 5h16v6H4zM4 13h16v6H4zM8 8h.01M8 16h.01M12 8h5M12 16h5",
  workloads: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5",
  pods: "M7 4h10l4 8-4 8H7l-4-8zM9 12a3 3 0 1 0 6 0 3 3 0 1 0-6 0",
  events: "M12 8v4l3 2M3.5 12a8.5 8.5 0 1 0 17 0 8.5 8.5 0 1 0-17 0",
  services: "M12 4v4M5 16v-2a2 2 0 0 1 2-2h10a2 2 0 0 1 2 2v2M12 8v4M3 16h4v4H3zM17 16h4v4h-4zM10 16h4v4h-4zM12 12v4",
  config: "M4 7h9M17 7h3M4 17h3M11 17h9M13 5v4h4V5zM7 15v4h4v-4z",
  secret: "M7 11V8a5 5 0 0 1 10 0v3M5 11h14v9H5zM12 15v2",
  explore: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 1 0 0-13M20 20l-4.8-4.8",
  more: "M4 7h16M4 12h16M4 17h16",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 1 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M19 5l-1.4 1.4M6.4 17.6L5 19",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5z",
  out: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9",
  check: "M5 12.5l4.5 4.5L19 7",
  alert: "M12 4l9 16H3zM12 10v4M12 17h.01",
  cross: "M6 6l12 12M18 6L6 18",
  search: "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 1 0 0-13M20 20l-4.8-4.8",
  restart: "M4 12a8 8 0 1 0 2.5-5.8M4 4v5h5",
  scale: "M4 20l6-6M4 15v5h5M20 4l-6 6M20 9V4h-5",
  bin: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  pause: "M9 5v14M15 5v14",
  play: "M8 5l11 7-11 7z",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12M9.5 12a2.5 2.5 0 1 0 5 0 2.5 2.5 0 1 0-5 0",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  terminal: "M4 5h16v14H4zM7 9l3 3-3 3M12 15h5",
  wrap: "M4 6h16M4 12h13a3 3 0 0 1 0 6h-4M15 15.5L12.5 18l2.5 2.5M4 18h4",
  down: "M12 5v14M6 13l6 6 6-6",
  clock: "M12 8v4l3 2M3.5 12a8.5 8.5 0 1 0 17 0 8.5 8.5 0 1 0-17 0",
  empty: "M4 13l3-8h10l3 8v6H4zM4 13h5l1.5 3h3L15 13h5",
  cordon: "M4 12a8 8 0 1 0 16 0 8 8 0 1 0-16 0M6.5 6.5l11 11",
} as const;

export type IconName = keyof typeof PATHS;

export const Icon = ({ name }: { name: IconName }) => (
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true">
    <path d={PATHS[name]} />
  </svg>
);
