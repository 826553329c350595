/** Parts of the page. */

/** @param {string} id */
export const at = (id) => document.getElementById(id);

/** Makes an element. */
export const make = (name, className, ...children) => {
  const element = document.createElement(name);
  element.className = className;
  element.append(...children);
  return element;
};

/** Sets a text. Screen readers announce a status again whenever it is set. */
export const write = (id, text) => {
  if (at(id).textContent !== text) at(id).textContent = text;
};
