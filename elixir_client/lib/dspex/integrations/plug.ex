if Code.ensure_loaded?(Plug.Conn) do
  defmodule DSPex.Integrations.Plug do
    @moduledoc """
    A program's stream as the response of a Plug, in server-sent events:

        def ask(conn, %{"question" => question}) do
          DSPex.Integrations.Plug.send_events(conn, @program, %{question: question}, instance: MyApp.DSPex)
        end

    The browser reads it with `EventSource`: see `DSPex.ServerEvents` for the events. A client that goes away cancels the call,
    at the next event or heartbeat at the latest, and the LM is read only as fast as the client reads.
    """

    import Plug.Conn

    alias DSPex.Error
    alias DSPex.ServerEvents

    @doc """
    Runs the program and sends its events. Options are those of `DSPex.stream/3`, and `:heartbeat`, ms without an event after
    which a comment is sent (15,000). An error before the first event has its own HTTP status and a JSON body; a later one is
    the last event.
    """
    @spec send_events(Plug.Conn.t(), DSPex.Program.t(), DSPex.inputs(), keyword) :: Plug.Conn.t()
    def send_events(conn, program, inputs, options \\ []) do
      {pause, options} = Keyword.pop(options, :heartbeat, 15_000)
      stream = DSPex.stream(program, inputs, [{:owner, self()} | options])
      ServerEvents.reduce(stream, pause, conn, &send_event/2)
    end

    defp send_event(%Error{} = error, %{state: :unset} = conn), do: {:halt, refuse(conn, error)}

    defp send_event(event, conn) do
      case conn |> open() |> chunk(ServerEvents.encode(event)) do
        {:ok, conn} -> {:cont, conn}
        {:error, _closed} -> {:halt, conn}
      end
    end

    defp open(%{state: :chunked} = conn), do: conn

    defp open(conn) do
      conn
      |> put_resp_header("content-type", "text/event-stream; charset=utf-8")
      |> put_resp_header("cache-control", "no-cache")
      |> put_resp_header("x-accel-buffering", "no")
      |> send_chunked(200)
    end

    defp refuse(conn, error) do
      conn = if error.retry_after, do: put_resp_header(conn, "retry-after", "#{ceil(error.retry_after)}"), else: conn

      conn
      |> put_resp_header("content-type", "application/problem+json")
      |> send_resp(Error.http_status(error), ServerEvents.problem(error))
    end
  end
end
