import { render } from "preact";

import { decoded, listen, route } from "./lib/route";
import { Home } from "./pages/Home";
import { Id } from "./pages/Id";
import { Ingest } from "./pages/Ingest";
import { Logs } from "./pages/Logs";
import { Metrics } from "./pages/Metrics";
import { Traces } from "./pages/Traces";
import { toast } from "./parts/copy";
import { Header } from "./parts/Header";
import { applyTheme, theme } from "./parts/settings";
import { EmptyPage } from "./parts/states";
import "./tokens.css";
import "./style.css";

function Page() {
  const { path } = route.value;
  if (path.startsWith("/id/")) {
    const id = decoded(path.slice(4));
    return <Id key={id} id={id} />;
  }
  switch (path) {
    case "/":
      return <Home />;
    case "/logs":
      return <Logs />;
    case "/graph":
      return <Metrics />;
    case "/traces":
      return <Traces />;
    case "/ingest":
      return <Ingest />;
    default:
      return (
        <EmptyPage title="No such page">
          <a href="/">Start over</a>
        </EmptyPage>
      );
  }
}

function App() {
  return (
    <>
      <Header />
      <main>
        <Page />
      </main>
      {toast.value !== "" && (
        <div class="toast" role="status">
          {toast.value}
        </div>
      )}
    </>
  );
}

applyTheme(theme.value);
listen();
const root = document.getElementById("app");
if (root) render(<App />, root);
