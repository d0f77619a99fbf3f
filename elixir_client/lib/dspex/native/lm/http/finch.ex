if Code.ensure_loaded?(Finch) do
  defmodule DSPex.Native.LM.Http.Finch do
    @moduledoc """
    Requests through Finch, where it is installed: `DSPex.Native.LM.new(model, http: DSPex.Native.LM.Http.Finch)`.

    They use a Finch of their own, started with the first request, whose connections are kept open and whose certificates
    are verified. For one of yours (with a proxy, say), name it in a module of yours:

        defmodule MyApp.LMHttp do
          @behaviour DSPex.Native.LM.Http
          alias DSPex.Native.LM.Http

          @impl true
          def post(url, headers, body, timeout), do: Http.Finch.post(url, headers, body, timeout, MyApp.Finch)
          @impl true
          defdelegate next(handle, timeout), to: Http.Finch
          @impl true
          defdelegate close(handle), to: Http.Finch
        end
    """
    @behaviour DSPex.Native.LM.Http

    alias DSPex.Native.LM.Http
    alias DSPex.Native.LM.Http.Relay

    # As many as httpc may open; they are made when they are needed.
    @pool [size: 1024, conn_opts: [transport_opts: [timeout: 10_000, verify: :verify_peer]]]

    @impl true
    def post(url, headers, body, timeout), do: post(url, headers, body, timeout, nil)

    @doc "As `post/4`, through a Finch that was started with that name."
    @spec post(String.t(), [{String.t(), String.t()}], iodata, timeout, atom) :: Http.handle()
    def post(url, headers, body, timeout, finch) do
      Relay.start(fn relay ->
        request = Finch.build(:post, url, [{"content-type", "application/json"} | headers], body)
        options = [pool_timeout: timeout, receive_timeout: timeout, request_timeout: timeout]

        case Finch.stream_while(request, finch || start(), relay, &Relay.event/2, options) do
          {:ok, relay} -> Relay.finish(:ok, relay)
          {:error, error, relay} -> Relay.finish({:error, error}, relay)
          # Before Finch 0.20.
          {:error, error} -> Relay.finish({:error, error}, relay)
        end
      end)
    end

    @impl true
    defdelegate next(handle, timeout), to: Relay

    @impl true
    defdelegate close(handle), to: Relay

    defp start do
      # Finch stands on telemetry's table. What fails here fails below as well, with a name.
      _started = Application.ensure_all_started(:finch)

      case DSPex.Application.start_child({Finch, name: __MODULE__, pools: %{default: @pool}}) do
        {:ok, _pid} -> __MODULE__
        {:error, {:already_started, _pid}} -> __MODULE__
      end
    end
  end
end
