export * from "./kinds.js";
export * from "./ovation.js";
export * from "./element.js";
