// The dashboard: everything is read and changed through the Kubernetes API, with the rights of whoever is signed in.

import "uplot/dist/uPlot.min.css";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/table.css";
import "./styles/text.css";

import { render } from "preact";

import { recognise } from "./api/identity.ts";
import { App } from "./app.tsx";
import "./theme.ts";

render(<App />, document.getElementById("app")!);
void recognise();
