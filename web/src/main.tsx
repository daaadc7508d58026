import { render } from "preact";
import { App } from "./App";
import { library } from "./charts/load";
import "./charts/theme";
import { loadInfo, loadRuns, startLive } from "./state";

const root = document.getElementById("app")!;
root.replaceChildren();
render(<App />, root);
// After the first frame: charts need it next, and nothing should wait for it.
requestAnimationFrame(() => setTimeout(() => void library().catch(() => undefined)));
void loadInfo();
void loadRuns().then(startLive);
