// The part of the hooks' types that the pages use.
export function useState<T = any>(initial: T | (() => T)): [T, (value: T | ((before: T) => T)) => void];
export function useEffect(effect: () => void | (() => void), inputs?: any[]): void;
export function useLayoutEffect(effect: () => void | (() => void), inputs?: any[]): void;
export function useMemo<T>(make: () => T, inputs: any[]): T;
export function useCallback<T extends Function>(callback: T, inputs: any[]): T;
export function useRef<T = any>(initial?: T): { current: any };
export function useContext<T>(context: { __value?: T }): T;
export function useReducer<S, A>(reducer: (state: S, action: A) => S, initial: S): [S, (action: A) => void];
export function useId(): string;
