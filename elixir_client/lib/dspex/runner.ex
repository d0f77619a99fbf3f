defmodule DSPex.Runner do
  @moduledoc """
  Runs programs by their handles. A handle is made by Python and remembered per instance; a worker that lacks the program
  says so, gets it, and the request is repeated.
  """

  alias DSPex.Error
  alias DSPex.Exchange
  alias DSPex.Program

  @most_handles 10_000
  @rounds 4

  @doc "Runs `method` on a program's module: its outcome, and the exchange that brought it."
  @spec run(:ets.table(), Program.t(), String.t(), [{String.t(), term}], keyword) ::
          {{:ok, term} | {:error, Error.t()}, Exchange.t() | nil}
  def run(table, program, method, params, options) do
    with_module(table, program, method, params, options, &Exchange.call/1)
  end

  @doc """
  Prepares an exchange for `method` on a program's module and gives it to `function`, which returns `{outcome, exchange}`.
  Where the outcome is that the worker lacks the program, that worker gets it and `function` runs again.
  """
  @spec with_module(
          :ets.table(),
          Program.t(),
          String.t(),
          [{String.t(), term}],
          keyword,
          (Exchange.t() -> {term, Exchange.t()})
        ) ::
          {term, Exchange.t() | nil}
  def with_module(table, program, method, params, options, function) do
    with {:ok, handle, near} <- handle(table, program, options),
         {:ok, exchange} <- Exchange.new(table, method, [{"module", handle} | params], options) do
      rounds(table, program, %{exchange | near: near}, options, function, @rounds)
    else
      {:error, error} -> {{:error, error}, nil}
    end
  end

  @doc "Sends the program to a worker (any, when `index` is nil) and gives its handle and who has it."
  @spec put(:ets.table(), Program.t(), keyword, pos_integer | nil) ::
          {:ok, String.t(), pos_integer} | {:error, Error.t()}
  def put(table, program, options, index \\ nil) do
    # The program goes where the session is: the call comes after it.
    own = [index: index, affinity: Exchange.affinity(options), bound: options[:bound]]
    options = own ++ Keyword.take(options, [:pool, :timeout, :encoding, :owner])

    with {:ok, exchange} <- Exchange.new(table, "program.put", [{"program", Program.to_json(program)}], options) do
      case Exchange.call(exchange) do
        {{:ok, %DSPex.Ordered{pairs: [{"module", handle} | _rest]}}, exchange} when is_binary(handle) ->
          remember(table, program, handle)
          {:ok, handle, exchange.at}

        {{:ok, _other}, _exchange} ->
          {:error, Error.new(:protocol_error, "the worker answered program.put without a handle")}

        {{:error, error}, _exchange} ->
          {:error, error}
      end
    end
  end

  defp rounds(table, program, exchange, options, function, left) do
    case function.(exchange) do
      {{:error, %Error{need: "program"}}, exchange} when left > 1 ->
        options = Keyword.put(options, :timeout, Exchange.left(exchange.deadline))

        case put(table, program, options, exchange.at) do
          {:ok, _handle, at} ->
            rounds(table, program, %{exchange | prefer: at, ref: nil}, options, function, left - 1)

          {:error, %Error{reason: reason}} when reason in [:unavailable, :worker_lost] ->
            rounds(table, program, %{exchange | ref: nil}, options, function, left - 1)

          {:error, error} ->
            {{:error, error}, exchange}
        end

      other ->
        other
    end
  end

  defp handle(table, program, options) do
    case :ets.lookup(table, {:program, Program.key(program)}) do
      [{_key, handle}] -> {:ok, handle, nil}
      [] -> put(table, program, options)
    end
  end

  # Bounded the simple way: what is forgotten is learned again by one more program.put.
  defp remember(table, program, handle) do
    if :ets.update_counter(table, :handles, {2, 1}, {:handles, 0}) > @most_handles do
      :ets.match_delete(table, {{:program, :_}, :_})
      :ets.insert(table, {:handles, 1})
    end

    :ets.insert(table, {{:program, Program.key(program)}, handle})
  end
end
