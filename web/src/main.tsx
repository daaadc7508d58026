import { render } from "preact";
import { App } from "./App";
import "./charts/theme";
import { loadInfo, loadRuns, startLive } from "./state";

const root = document.getElementById("app")!;
root.replaceChildren();
render(<App />, root);
void loadInfo();
void loadRuns().then(startLive);
