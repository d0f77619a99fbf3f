if Code.ensure_loaded?(Req) do
  defmodule DSPex.Native.LM.Http.Req do
    @moduledoc """
    Requests through Req, where it is installed: `DSPex.Native.LM.new(model, http: DSPex.Native.LM.Http.Req)`.

    What `Req.default_options/1` sets for your system (a proxy, certificates) holds here too, but for what the client of an
    LM does itself: it repeats requests, and follows no redirects.
    """
    @behaviour DSPex.Native.LM.Http

    alias DSPex.Native.LM.Http.Relay

    @own [method: :post, retry: false, redirect: false, compressed: false, decode_body: false, raw: true, cache: false]

    @impl true
    def post(url, headers, body, timeout) do
      Relay.start(fn relay ->
        headers = [{"content-type", "application/json"} | headers]
        options = [url: url, headers: headers, body: body, pool_timeout: timeout, receive_timeout: timeout]

        case Req.request(@own ++ options ++ [into: &piece(relay, &1, &2)]) do
          {:ok, response} -> Relay.finish(:ok, opened(relay, response))
          {:error, error} -> Relay.finish({:error, error}, relay)
        end
      end)
    end

    @impl true
    defdelegate next(handle, timeout), to: Relay

    @impl true
    defdelegate close(handle), to: Relay

    defp piece(relay, {:data, bytes}, {request, response}) do
      {go_on, relay} = Relay.event({:data, bytes}, opened(relay, response))
      {go_on, {request, %{response | private: Map.put(response.private, :dspex, relay)}}}
    end

    # Req tells the status with the first piece of the body, or at the end of an answer without one.
    defp opened(relay, response) do
      case response.private do
        %{dspex: relay} ->
          relay

        _none ->
          headers = for {name, values} <- response.headers, value <- List.wrap(values), do: {name, value}
          {:cont, relay} = Relay.event({:status, response.status}, relay)
          {:cont, relay} = Relay.event({:headers, headers}, relay)
          relay
      end
    end
  end
end
