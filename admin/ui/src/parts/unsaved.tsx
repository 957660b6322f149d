import { useLayoutEffect, useState } from 'react';
import { guardLeaving } from '../shell/leaving';
import { Confirm } from './confirm';

/** While it is there, whoever leaves the page is asked first: by a link, the browser's buttons, or by closing it. */
export function Unsaved() {
  const [go, setGo] = useState<() => void>();
  // In the layout phase: where a session ends, the editor goes and the way to the login must be free at once.
  useLayoutEffect(() => {
    const release = guardLeaving((onward) => setGo(() => onward));
    const onUnload = (event: BeforeUnloadEvent) => event.preventDefault();
    addEventListener('beforeunload', onUnload);
    return () => {
      release();
      removeEventListener('beforeunload', onUnload);
    };
  }, []);
  return (
    <Confirm open={go !== undefined} title="Leave without saving?" action="Leave" onCancel={() => setGo(undefined)} onConfirm={() => go?.()}>
      <p>What was changed here is not saved, and goes.</p>
    </Confirm>
  );
}
