// The page: header, period, sections; or why there is nothing to show yet and what to do.

import { info, loadRuns, run, runs, runsError } from "./state";
import { Accuracy } from "./sections/Accuracy";
import { Calibration } from "./sections/Calibration";
import { Carbon } from "./sections/Carbon";
import { DeadLetters } from "./sections/DeadLetters";
import { Header } from "./sections/Header";
import { Hosts } from "./sections/Hosts";
import { Power } from "./sections/Power";
import { Proposals } from "./sections/Proposals";
import { Slo } from "./sections/Slo";
import { Sql } from "./sections/Sql";
import { Summary } from "./sections/Summary";
import { Toolbar } from "./sections/Toolbar";
import { WhatIf } from "./sections/WhatIf";
import { Windows } from "./sections/Windows";
import { TokenDialog } from "./ui/TokenDialog";

export function App() {
  return (
    <>
      <a class="skip" href="#main">Skip to the charts</a>
      <Header />
      <Main />
      <TokenDialog />
    </>
  );
}

function Main() {
  const shown = run.value;
  if (shown) return <Sections />;
  const error = runsError.value;
  return (
    <main class="page" id="main">
      {error ? (
        <div class="welcome" role="alert">
          <h1>The runs cannot be shown</h1>
          <p>{error.message}</p>
          <button type="button" class="main" onClick={() => void loadRuns()}>Try again</button>
        </div>
      ) : runs.value === null ? (
        <div class="welcome" role="status" aria-label="Loading"><span class="spin" /></div>
      ) : <Welcome />}
    </main>
  );
}

function Welcome() {
  return (
    <div class="welcome">
      <h1>No run yet</h1>
      <p>Start one in a terminal; this page follows it live.</p>
      <pre><code>opendt demo{"\n"}opendt run --trace data/traces/surf</code></pre>
      <p>
        This server reads the lake at <code>{info.value?.lake ?? "data/lake"}</code>. A run that goes to another one (<code>--lake</code>) does not appear here.
      </p>
    </div>
  );
}

function Sections() {
  const shown = run.value!;
  return (
    <>
      <Toolbar />
      <main class="page" id="main">
        <h1 class="sr">Run {shown.run_id}</h1>
        {shown.state === "failed" || shown.reason ? (
          <div class="failure" role="alert"><p>This run {shown.state === "failed" ? "failed" : shown.state}: {shown.reason ?? "no reason was recorded"}</p></div>
        ) : null}
        <Summary run={shown} />
        <div class="grid">
          <Power />
          <Accuracy />
          <Carbon />
          <Hosts />
          <Calibration />
          <Windows />
          <Slo />
          <DeadLetters />
          <Proposals />
          <WhatIf />
          <Sql />
        </div>
        <footer>
          OpenDT {info.value?.version ?? ""} · run {shown.run_id} in {shown.datacenter} · {shown.engine ?? "unknown"} engine {shown.engine_version ?? ""} · times are trace time in UTC
        </footer>
      </main>
    </>
  );
}
