// A list of nodes that name their parents, as a tree in the order that it is shown in.

export interface Placed<T> {
  node: T;
  /** 0: at the top. */
  depth: number;
  /** Whether anything is below it. */
  inner: boolean;
}

/** Every node after its parent, siblings by name; what is below a node of `closed` is left out. A node whose parent is missing is at the top. */
export function placeTree<T extends { name: string; parent: string }>(nodes: T[], closed: ReadonlySet<string>): Placed<T>[] {
  const known = new Set(nodes.map((node) => node.name));
  const below = new Map<string, T[]>();
  for (const node of nodes) {
    const parent = known.has(node.parent) ? node.parent : '';
    below.set(parent, [...(below.get(parent) ?? []), node]);
  }
  const placed: Placed<T>[] = [];
  const place = (parent: string, depth: number) => {
    const children = below.get(parent) ?? [];
    for (const node of children.sort((a, b) => a.name.localeCompare(b.name))) {
      placed.push({ node, depth, inner: below.has(node.name) });
      if (!closed.has(node.name)) place(node.name, depth + 1);
    }
  };
  place('', 0);
  return placed;
}

/** The names of a node and of all below it. */
export function withBelow(nodes: { name: string; parent: string }[], name: string): Set<string> {
  const found = new Set([name]);
  for (let before = 0; before !== found.size; ) {
    before = found.size;
    for (const node of nodes) if (found.has(node.parent)) found.add(node.name);
  }
  return found;
}
