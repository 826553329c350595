import type { CountsDetail, OvationReactions, RefusedDetail, StateDetail } from "./index.js";

declare global {
  interface HTMLElementTagNameMap {
    "ovation-reactions": OvationReactions;
  }
  interface HTMLElementEventMap {
    "ovation:counts": CustomEvent<CountsDetail>;
    "ovation:state": CustomEvent<StateDetail>;
    "ovation:refused": CustomEvent<RefusedDetail>;
    "ovation:here": CustomEvent<number>;
  }
}
