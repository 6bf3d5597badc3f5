// The part of Preact's types that the pages use; the module itself is vendored without types.
export type VNode = any;
export function h(type: any, props?: any, ...children: any[]): VNode;
export function render(vnode: VNode, parent: Element): void;
export function createContext<T>(value: T): { Provider: any; Consumer: any; __value?: T };
export const Fragment: any;
export class Component<P = any, S = any> {
  constructor(props?: P);
  props: P;
  state: S;
  setState(state: Partial<S>): void;
  forceUpdate(): void;
}
