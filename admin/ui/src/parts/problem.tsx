import { Button } from '@mantine/core';
import { sentence } from '../api/client';
import { StatusText } from './glyph';

/** Where data should be and could not be had: the server's sentence, and another try. */
export function Problem({ error, retry }: { error: unknown; retry?: () => void }) {
  return (
    <div className="empty" role="alert">
      <p>
        <StatusText status="bad">{sentence(error)}</StatusText>
      </p>
      {retry && (
        <Button mt={12} onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}
