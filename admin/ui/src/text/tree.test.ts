import { expect, test } from 'vitest';
import { placeTree, withBelow } from './tree';

const nodes = [
  { name: 'c', parent: 'b' },
  { name: 'a', parent: '' },
  { name: 'b', parent: 'a' },
  { name: 'd', parent: 'gone' },
  { name: 'a2', parent: 'a' },
];

test('children follow their parents, by name', () => {
  expect(placeTree(nodes, new Set()).map(({ node, depth, inner }) => `${depth}${node.name}${inner ? '+' : ''}`)).toEqual(['0a+', '1a2', '1b+', '2c', '0d']);
});

test('what is closed hides what is below', () => {
  expect(placeTree(nodes, new Set(['b'])).map(({ node }) => node.name)).toEqual(['a', 'a2', 'b', 'd']);
});

test('a branch is all that is below a node', () => {
  expect([...withBelow(nodes, 'a')].sort()).toEqual(['a', 'a2', 'b', 'c']);
  expect([...withBelow(nodes, 'd')]).toEqual(['d']);
});
