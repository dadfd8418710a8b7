// What scrolls sideways must be reachable by keyboard; what does not is no tab stop.
const boxes = "pre, .table-wrapper, mjx-container[display]";
const mark = () => {
  for (const box of document.querySelectorAll(boxes)) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
};
addEventListener("load", mark);
addEventListener("resize", mark);
