import type { MessagePort, Worker } from "node:worker_threads";
import type { Endpoint } from "comlink";

type Listener = Parameters<Endpoint["addEventListener"]>[1];

/** A worker, or the port of one, in the shape comlink talks to. */
export function comlinkEndpoint(port: MessagePort | Worker): Endpoint {
  const wrappers = new Map<unknown, (data: unknown) => void>();
  return {
    postMessage: (message, transfer) => port.postMessage(message, transfer as never),
    addEventListener: (_type, listener: Listener) => {
      const wrapper = (data: unknown): void => {
        const event = { data } as MessageEvent;
        if (typeof listener === "function") listener(event);
        else listener.handleEvent(event);
      };
      port.on("message", wrapper);
      wrappers.set(listener, wrapper);
    },
    removeEventListener: (_type, listener) => {
      const wrapper = wrappers.get(listener);
      if (wrapper !== undefined) port.off("message", wrapper);
      wrappers.delete(listener);
    },
  };
}
