import { localStorageColorSchemeManager, MantineProvider } from '@mantine/core';
import { Notifications } from '@mantine/notifications';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Router } from 'wouter';
import { Refusal } from './api/client';
import { App } from './app';
import { aroundNav } from './shell/leaving';
import './theme/mantine.css';
import './theme/tokens.css';
import './theme/base.css';
import './theme/components.css';
import { applyPreferences, schemeKey } from './theme/preferences';
import { cssVariables, theme } from './theme/theme';

applyPreferences();

const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 2000,
      // Only a gateway that did not answer is asked again: its refusals stay refusals.
      retry: (failures, cause) => failures < 2 && (!(cause instanceof Refusal) || cause.status === 0 || cause.status >= 500),
    },
  },
});

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <MantineProvider
      theme={theme}
      cssVariablesResolver={cssVariables}
      defaultColorScheme="auto"
      colorSchemeManager={localStorageColorSchemeManager({ key: schemeKey })}
    >
      <Notifications position="bottom-right" limit={4} />
      <QueryClientProvider client={client}>
        <Router aroundNav={aroundNav}>
          <App />
        </Router>
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
