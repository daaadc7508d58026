// The parts of Apache ECharts the page uses; importing them one by one keeps the bundle small.

import { HeatmapChart, LineChart } from "echarts/charts";
import {
  DataZoomInsideComponent, DataZoomSliderComponent, GridComponent, TooltipComponent, VisualMapContinuousComponent,
} from "echarts/components";
import { init, use, type EChartsType } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";

use([
  LineChart, HeatmapChart, GridComponent, TooltipComponent, DataZoomInsideComponent, DataZoomSliderComponent,
  VisualMapContinuousComponent, CanvasRenderer,
]);

export { init, type EChartsType };
