import { defineConfig } from "vite";

export default defineConfig({
  build: {
    target: "es2022",
    sourcemap: false,
    modulePreload: { polyfill: false },
  },
  server: {
    // `npm run dev` talks to a server that runs beside it.
    proxy: Object.fromEntries(
      ["/api", "/loki", "/tercet", "/ds", "/-"].map((path) => [path, "http://127.0.0.1:4319"]),
    ),
  },
});
