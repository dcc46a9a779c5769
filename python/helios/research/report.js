// Draws the report's charts from the JSON in the page. No request leaves the page: its policy forbids any.
(() => {
  const page = JSON.parse(document.getElementById("figures").textContent);
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: "hover",
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  };
  const draw = (id, figure) => {
    const place = document.getElementById(id);
    place.style.minHeight = figure.layout.height + "px";
    // A fresh plot, because range breaks and rows differ from one choice to the next.
    Plotly.newPlot(place, figure.data, figure.layout, config);
  };
  for (const [id, figure] of Object.entries(page.charts)) draw(id, figure);
  const menu = document.getElementById("trade-menu");
  if (menu) {
    const show = () => {
      const choice = page.choices[menu.selectedIndex];
      document.getElementById("trade-note").textContent = choice.note;
      draw("trade-chart", choice.figure);
    };
    menu.addEventListener("change", show);
    show();
  }
})();
