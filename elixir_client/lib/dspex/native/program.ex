defmodule DSPex.Native.Program do
  @moduledoc """
  `Predict` and `ChainOfThought` wholly in Elixir: DSPy's prompt, one request to the LM, DSPy's reading of the answer.

  Programs that Python optimised run here with the very same prompts: instructions, demos and changed fields of their
  `state` are applied as DSPy applies them.

      program = DSPex.ChainOfThought.new("question -> answer: int")
      lm = DSPex.Native.LM.new("openai/gpt-4o-mini")
      {:ok, prediction} = DSPex.Native.Program.call(program, %{question: "6 * 7?"}, lm)
  """

  alias DSPex.Error
  alias DSPex.Native.Adapter
  alias DSPex.Native.LM
  alias DSPex.Native.Program.Compiled
  alias DSPex.Native.Program.Fields
  alias DSPex.Native.Program.Reserved
  alias DSPex.Native.Python
  alias DSPex.Prediction
  alias DSPex.Signature

  @type option ::
          {:adapter, :chat | :json | :xml | String.t()}
          | {:config, map}
          | {:timeout, timeout}
          | {:on_token, (map -> term)}

  @doc """
  Whether the program can run here; if not, why.

      iex> DSPex.Native.Program.check(DSPex.Predict.new("question -> answer"))
      :ok
      iex> DSPex.Native.Program.check(DSPex.ReAct.new("question -> answer"))
      {:no, "react runs only in Python"}
  """
  @spec check(DSPex.Program.t()) :: :ok | {:no, String.t()}
  def check(program) do
    case Compiled.compile(program) do
      {:ok, _compiled} -> :ok
      {:no, why} -> {:no, why}
      # A program that neither side can run is best refused here.
      {:error, _error} -> :ok
    end
  end

  @doc """
  Runs the program once.

  Options: `:adapter` and `:config` (over the program's), `:timeout` (ms for everything; 60,000), `:on_token` (a function of
  `%{field: name, text: text, last?: boolean}`, called while the answer comes).

  Errors: `:invalid_input`, `:signature_error`, `:lm_error` (an answer that cannot be read included), `:timeout`,
  `:unavailable` (the program needs Python).
  """
  @spec call(DSPex.Program.t(), map | keyword, LM.t(), [option]) :: {:ok, Prediction.t()} | {:error, Error.t()}
  def call(program, inputs, %LM{} = lm, options \\ []) do
    started = System.monotonic_time()

    with {:ok, compiled} <- compiled(program),
         {:ok, inputs} <- check_inputs(compiled, inputs) do
      adapter = adapter(options[:adapter] || compiled.adapter)
      settings = settings(compiled, options)
      answer = ask(adapter, compiled, inputs, lm, settings)
      with {:ok, outputs, completions} <- answer, do: {:ok, prediction(compiled, outputs, completions, started)}
    end
  end

  @doc """
  The messages that the program sends for these inputs; Python's DSPy sends the same ones.
  """
  @spec messages(DSPex.Program.t(), map | keyword, [option]) :: {:ok, [LM.message()]} | {:error, Error.t()}
  def messages(program, inputs, options \\ []) do
    with {:ok, compiled} <- compiled(program), {:ok, inputs} <- check_inputs(compiled, inputs) do
      {:ok, format(adapter(options[:adapter] || compiled.adapter), compiled, inputs)}
    end
  end

  defp compiled(program) do
    with {:no, why} <- Compiled.compile(program) do
      {:error, Error.new(:unavailable, "this program cannot run in Elixir: #{why}", retryable?: false)}
    end
  end

  defp check_inputs(compiled, inputs) do
    with {:ok, _coerced} <- Signature.validate_inputs(compiled.signature, inputs),
         :ok <- Reserved.inputs(inputs),
         do: {:ok, given(compiled.signature, inputs)}
  end

  # What is not given has its default in the prompt, as DSPy's Predict puts it there.
  defp given(signature, inputs) do
    case for(%{default: {:ok, value}, name: name} <- signature.inputs, do: {name, Python.to_elixir(value)}) do
      [] -> inputs
      defaults -> Map.merge(Map.new(defaults), Map.new(inputs, fn {name, value} -> {to_string(name), value} end))
    end
  end

  defp settings(compiled, options) do
    timeout = Keyword.get(options, :timeout, 60_000)
    out = :counters.new(1, [])

    %{
      params: Map.merge(compiled.params, text_keys(options[:config] || %{})),
      deadline: if(timeout == :infinity, do: :infinity, else: System.monotonic_time(:millisecond) + timeout),
      on_token: options[:on_token] && counted(options[:on_token], out),
      out: out
    }
  end

  defp counted(on_token, out) do
    fn token ->
      :counters.add(out, 1, 1)
      on_token.(token)
    end
  end

  defp ask(:json, compiled, inputs, lm, settings), do: once(:json, compiled, inputs, lm, settings)

  # DSPy's other adapters ask once more with the JSONAdapter when the answer cannot be read and nothing of it is out.
  defp ask(adapter, compiled, inputs, lm, settings) do
    with {:error, %Error{details: %{"code" => "adapter_parse_error"}}} = unreadable <-
           once(adapter, compiled, inputs, lm, settings) do
      if :counters.get(settings.out, 1) == 0, do: once(:json, compiled, inputs, lm, settings), else: unreadable
    end
  end

  defp once(adapter, compiled, inputs, lm, settings) do
    messages = format(adapter, compiled, inputs)
    tokens = settings.on_token && Fields.start(adapter, compiled.signature, settings.on_token)

    options = [
      params: settings.params,
      timeout: left(settings.deadline),
      response_format: response_format(adapter, compiled.signature),
      on_text: tokens && (&Fields.feed(tokens, &1))
    ]

    with {:ok, completion} <- chat(lm, messages, options),
         {:ok, all} <- parse_all(adapter, compiled.signature, completion.texts) do
      tokens && Fields.finish(tokens, hd(all))
      {:ok, all, completion}
    else
      {:error, error} ->
        tokens && Fields.drop(tokens)
        {:error, error}
    end
  end

  # A server that does not know JSON Schema as a response format gets the plain request for a JSON object, as in DSPy.
  defp chat(lm, messages, options) do
    case LM.chat(lm, messages, options) do
      {:error, %Error{details: %{"status" => 400}}} = refused ->
        if options[:response_format]["type"] == "json_schema",
          do: LM.chat(lm, messages, Keyword.put(options, :response_format, %{"type" => "json_object"})),
          else: refused

      outcome ->
        outcome
    end
  end

  defp format(adapter, compiled, inputs), do: module(adapter).format(compiled.signature, compiled.demos, inputs)

  defp parse_all(adapter, signature, texts) do
    Enum.reduce_while(Enum.reverse(texts), {:ok, []}, fn text, {:ok, done} ->
      case module(adapter).parse(signature, text) do
        {:ok, outputs} -> {:cont, {:ok, [outputs | done]}}
        {:error, error} -> {:halt, {:error, Adapter.ParseError.to_error(error)}}
      end
    end)
  end

  defp response_format(:json, signature) do
    case Adapter.JSON.response_schema(signature) do
      {:ok, schema} ->
        named = DSPex.Ordered.new([{"name", "DSPyProgramOutputs"}, {"schema", schema}, {"strict", true}])
        %{"type" => "json_schema", "json_schema" => named}

      {:error, _reason} ->
        %{"type" => "json_object"}
    end
  end

  defp response_format(_adapter, _signature), do: nil

  defp prediction(compiled, [outputs | _more] = all, completion, started) do
    duration = System.convert_time_unit(System.monotonic_time() - started, :native, :microsecond) / 1000
    tokens = Map.merge(%{"prompt_tokens" => 0, "completion_tokens" => 0, "total_tokens" => 0}, completion.usage)

    %Prediction{
      outputs: outputs,
      fields: Enum.map(compiled.signature.outputs, & &1.name),
      completions: if(length(all) > 1, do: all),
      usage: Map.merge(tokens, %{"lm_calls" => 1, "by_model" => %{completion.model => tokens}}),
      meta: %{
        "route" => "native",
        "model" => completion.model,
        "cache" => "off",
        "duration_ms" => duration,
        "run_ms" => duration
      }
    }
  end

  defp module(:chat), do: Adapter.Chat
  defp module(:json), do: Adapter.JSON
  defp module(:xml), do: Adapter.XML

  defp adapter(name) when name in [nil, :chat, "chat"], do: :chat
  defp adapter(name) when name in [:json, "json"], do: :json
  defp adapter(name) when name in [:xml, "xml"], do: :xml

  defp text_keys(pairs), do: Map.new(pairs, fn {name, value} -> {to_string(name), value} end)

  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(0, deadline - System.monotonic_time(:millisecond))
end
