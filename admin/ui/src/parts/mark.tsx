/** A roll call: eight that are there, one that is not. */
export function Mark() {
  const dots = [0, 1, 2].flatMap((row) => [0, 1, 2].map((column) => ({ x: 3 + column * 6, y: 3 + row * 6 })));
  return (
    <svg width="18" height="18" viewBox="0 0 18 18" aria-hidden="true">
      {dots.map(({ x, y }, index) =>
        index === 5 ? (
          <circle key={index} cx={x} cy={y} r="1.6" fill="none" stroke="currentColor" strokeWidth="1.2" />
        ) : (
          <circle key={index} cx={x} cy={y} r="2.2" fill="currentColor" />
        ),
      )}
    </svg>
  );
}
