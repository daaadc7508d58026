// The chart library is five sixths of all script. It comes in a file of its own, so that the page can show numbers before.

type Library = typeof import("./library");

let coming: Promise<Library> | null = null;

/** The library; asked for again when it did not come. */
export function library(): Promise<Library> {
  coming ??= import("./library").catch((error: unknown) => {
    coming = null;
    throw error;
  });
  return coming;
}
